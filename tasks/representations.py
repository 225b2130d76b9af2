"""Stage `representations`: hidden states and losses of one shard under the base model.

`rds`, `rds_plus` and `perplexity` select by them. By the definition of those methods, the base
model is used without the warmup's adapter, so a grown pool computes only its new shards.
"""

from __future__ import annotations

import gc
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from bids_core.artifacts import Draft, Handle, Identity
from bids_core.config import ModelConfig, RunConfig
from bids_core.gradients import compute_features, open_store, write_shard
from bids_core.influence.matrix import Matrix
from bids_core.models.load import load_base, load_tokenizer
from bids_core.selection import METHODS
from tasks.gradients import FEATURES, Shard
from tasks.identity import model_identity
from tasks.prepare import load_prepared, rows_digest, texts_digest
from tasks.runtime.stage import stage_task

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bids_core.data import PreparedData
    from bids_core.progress import Progress

VERSION: Final = 1
Pooling = Literal["rds", "rds_plus"]
PERPLEXITY_POOLING: Final[Pooling] = "rds"
"""The pooling whose pass gives the perplexities; the losses of both are the same."""


class Representations(BaseModel):
    """The shards of one pooling, in row order."""

    model_config = ConfigDict(frozen=True)

    train: tuple[Handle, ...]
    """Shards of the training pool."""
    validation: tuple[Handle, ...]
    """Shards of the validation instances."""


def poolings(methods: Iterable[str]) -> list[Pooling]:
    """Return the poolings needed by some methods, each once."""
    found: dict[Pooling, None] = {}
    for method in methods:
        needs = METHODS[method].needs
        if needs == "perplexities":
            found[PERPLEXITY_POOLING] = None
        elif needs == "rds" or needs == "rds_plus":
            found[needs] = None
    return list(found)


def identify(config: RunConfig, data: Handle, pooling: Pooling, shard: Shard) -> Identity:
    """Return the identity of a shard's hidden states: its rows, the model, the pooling."""
    frame = getattr(load_prepared(data), shard.split).frame.iloc[shard.start : shard.stop]
    return Identity(
        "representations",
        VERSION,
        config=model_identity(config, "representations") | {"pooling": pooling},
        inputs={"rows": rows_digest(frame)},
        uses=(data.key,),
    )


def compute(
    config: RunConfig,
    data: Handle,
    pooling: Pooling,
    shard: Shard,
    *,
    draft: Draft,
    progress: Progress,
) -> None:
    """Compute the pooled hidden states and the losses of one shard."""
    section = config.gradients
    features = compute_features(
        _base(config.model),
        getattr(load_prepared(data), shard.split).part(shard.start, shard.stop).examples(),
        feature=pooling,
        tokens_per_batch=section.tokens_per_batch,
        pad_token_id=load_tokenizer(config.model).pad_token_id,
        on_progress=progress,
    )
    attributes = {"split": shard.split, "pooling": pooling}
    write_shard(draft.path / FEATURES, features, storage=section.storage, attributes=attributes)
    draft.summary |= {"split": shard.split, "pooling": pooling, "rows": len(features.row_ids)}


run_representation_shard = stage_task(
    "representations",
    identify,
    compute,
    label="representations {pooling} {shard.split} rows {shard.start}-{shard.stop}",
    task_run_name="{pooling} {shard.split} {shard.start}-{shard.stop}",
)


@lru_cache(maxsize=1)
def _base(model: ModelConfig) -> Any:
    return load_base(model)


def release_base() -> None:
    """Free the memory of the base model."""
    _base.cache_clear()
    gc.collect()


def signal_identity(
    method: str, data: Handle, representations: Mapping[str, Representations]
) -> dict[str, Any]:
    """Return what a method's own inputs add to the identity of its selection."""
    if METHODS[method].needs == "texts":
        return {"texts": texts_digest(data)}
    shards = _shards_for(method, representations)
    return {"representations": [shard.fingerprint for shard in shards]} if shards else {}


def signal_keys(method: str, representations: Mapping[str, Representations]) -> list[str]:
    """Return the keys of the artifacts with a method's own inputs."""
    return [shard.key for shard in _shards_for(method, representations)]


def _shards_for(method: str, representations: Mapping[str, Representations]) -> list[Handle]:
    needs = METHODS[method].needs
    if needs in ("influence", "nothing", "texts"):
        return []
    shards = representations[PERPLEXITY_POOLING if needs == "perplexities" else needs]
    return [*shards.train, *(() if needs == "perplexities" else shards.validation)]


def signals(
    method: str,
    data: PreparedData,
    representations: Mapping[str, Representations],
    row_ids: list[str],
) -> dict[str, Any]:
    """Return what a method needs besides influence, as arguments of `select`.

    Args:
        method: its name.
        data: the prepared data.
        representations: by pooling.
        row_ids: the rows to select from, in order, without rows rejected after `prepare`.
    """
    needs = METHODS[method].needs
    if needs == "texts":
        texts = dict(zip(data.train.row_ids, data.train.texts(), strict=True))
        return {
            "texts": [texts[row_id] for row_id in row_ids],
            "validation_texts": data.validation.texts(),
        }
    if needs in ("influence", "nothing"):
        return {}
    shards = representations[PERPLEXITY_POOLING if needs == "perplexities" else needs]
    train = open_store([shard.path() / FEATURES for shard in shards.train])
    place = {row_id: row for row, row_id in enumerate(train.row_ids)}
    rows = [place[row_id] for row_id in row_ids]
    if needs == "perplexities":
        return {"perplexities": np.exp(train.losses.astype(np.float64))[rows]}
    validation = open_store([shard.path() / FEATURES for shard in shards.validation])
    states = Matrix(train)
    return {
        "representations": states if rows == list(range(len(place))) else states.take(rows),
        "validation_representations": validation.rows(0, validation.n_rows),
    }
