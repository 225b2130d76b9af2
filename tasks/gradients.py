"""Stage `gradients`: projected gradient features of one shard at one checkpoint.

A shard is its own artifact: it appears whole, is reused as long as its rows and checkpoint are the
same (a grown pool computes only its new shards), and no two workers write the same file.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict

from bids_core.artifacts import ArtifactStore, Draft, Handle, Identity
from bids_core.config import RunConfig
from bids_core.data.row_keys import row_keys
from bids_core.errors import ConfigError
from bids_core.gradients import (
    TRAINING_FEATURES,
    compute_features,
    make_projector,
    n_trainable,
    validation_feature,
    write_shard,
)
from bids_core.gradients.known import put_together
from bids_core.models.adapters import train_last_layers
from bids_core.models.load import load_adapter, load_tokenizer
from bids_core.training.moments import AdamMoments
from bids_core.training.warmup import CHECKPOINT
from tasks.curvature import fitted_curvature, identify_curvature
from tasks.identity import gradient_identity
from tasks.known_rows import announce, earlier_shards, holders, known_rows, leave_keys
from tasks.prepare import load_prepared, pool_keys, rows_digest
from tasks.runtime.stage import stage_task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from bids_core.gradients.features import Features
    from bids_core.progress import Progress
    from bids_core.records import TokenizedExample

VERSION: Final = 1
FEATURES: Final = "features.zarr"


class Shard(BaseModel):
    """One unit of gradient work: rows `start:stop` of a split at a checkpoint."""

    model_config = ConfigDict(frozen=True)

    split: str
    """train or validation."""
    checkpoint: int
    """Number of the checkpoint, from 1."""
    start: int
    """First row."""
    stop: int
    """Row after the last."""
    earlier: tuple[str, ...] = ()
    """Fingerprints of the shards that had some of its rows when it was planned. It may copy from
    them; they are not part of its identity."""

    @property
    def label(self) -> str:
        """Display name."""
        return f"gradients {self.split} checkpoint {self.checkpoint} rows {self.start}-{self.stop}"


def plan_shards(
    frame: pd.DataFrame,
    *,
    split: str,
    checkpoint: int,
    rows: int,
    keys: Sequence[str] = (),
    cuts: Sequence[tuple[str, ...]] = (),
) -> list[Shard]:
    """Cut a split into shards of at most `rows` rows.

    Validation shards never span tasks, so that a new task does not change the other shards. If an
    earlier shard's rows are still consecutive, they stay a shard, so that rows inserted before them
    do not shift all cuts. Shards that are less than half full are not preserved, because shards
    would get ever smaller.

    Args:
        frame: the rows.
        split: train or validation.
        checkpoint: of the shards.
        rows: of a shard, at most.
        keys: of the rows (`bids_core.data.row_keys`).
        cuts: the keys of earlier shards' rows.
    """
    tasks = frame["task"].tolist() if split == "validation" else [None] * len(frame)
    starting: dict[str, list[tuple[str, ...]]] = {}
    for cut in cuts:
        if rows / 2 <= len(cut) <= rows:
            starting.setdefault(cut[0], []).append(cut)
    ends: list[int] = []
    start = row = 0
    while row < len(frame):
        length = _same_length(keys, row, starting.get(keys[row], ())) if starting else 0
        if length and row > start:
            ends.append(row)  # rows inserted before it
        row += max(1, length)
        end = length or row == len(frame) or row - start == rows or tasks[row] != tasks[start]
        if length or end:
            ends.append(row)
        start = ends[-1] if ends else 0
    starts = [0, *ends[:-1]]
    return [
        Shard(split=split, checkpoint=checkpoint, start=first, stop=last)
        for first, last in zip(starts, ends, strict=True)
    ]


def _same_length(keys: Sequence[str], row: int, cuts: Sequence[tuple[str, ...]]) -> int:
    """Return the length of the longest earlier shard that starts at `row`; 0 if there is none."""
    lengths = [len(cut) for cut in cuts if tuple(keys[row : row + len(cut)]) == cut]
    return max(lengths, default=0)


def plan_gradients(
    config: RunConfig, data: Handle, warm: Handle, *, split: str, checkpoint: int
) -> list[Shard]:
    """Return the shards of a split at a checkpoint, with earlier pools' cuts if possible."""
    rows = getattr(load_prepared(data), split)
    keys = pool_keys(data) if split == "train" else row_keys(rows.examples())
    first = Shard(split=split, checkpoint=checkpoint, start=0, stop=1)
    earlier = earlier_shards(ArtifactStore(config.store), identify(config, data, warm, first))
    shards = plan_shards(
        rows.frame,
        split=split,
        checkpoint=checkpoint,
        rows=config.gradients.rows_per_shard,
        keys=keys,
        cuts=list(earlier.values()) if split == "train" else (),
    )
    held_by = holders(earlier)
    return [_looking_in(held_by, shard, keys[shard.start : shard.stop]) for shard in shards]


def _looking_in(held_by: Mapping[str, list[str]], shard: Shard, keys: Sequence[str]) -> Shard:
    """Return the shard with the earlier shards that hold some of its rows."""
    names = dict.fromkeys(name for key in keys for name in held_by.get(key, ()))
    return shard.model_copy(update={"earlier": tuple(names)})


def identify(config: RunConfig, data: Handle, warm: Handle, shard: Shard) -> Identity:
    """Return the identity of a shard's features: its rows, the checkpoint, the feature."""
    frame = getattr(load_prepared(data), shard.split).frame.iloc[shard.start : shard.stop]
    inputs: dict[str, Any] = {
        "warmup": warm.fingerprint,
        "checkpoint": shard.checkpoint,
        "rows": rows_digest(frame),
    }
    uses = [data.key, warm.key]
    if TRAINING_FEATURES[config.gradients.train_feature].curvature:
        curvature = identify_curvature(config, data, warm, shard.checkpoint)
        inputs["curvature"] = curvature.fingerprint
        uses.append(curvature.key)
    return Identity(
        "gradients",
        VERSION,
        config=gradient_identity(config, shard.split),
        inputs=inputs,
        seed=config.seed,
        uses=tuple(uses),
    )


def compute(
    config: RunConfig,
    data: Handle,
    warm: Handle,
    shard: Shard,
    *,
    draft: Draft,
    progress: Progress,
) -> None:
    """Compute the projected gradient features of one shard; rows in other shards are copied."""
    examples = getattr(load_prepared(data), shard.split).part(shard.start, shard.stop).examples()
    store, identity = ArtifactStore(config.store), identify(config, data, warm, shard)
    keys = row_keys(examples)
    known = known_rows(store, identity, keys, earlier=shard.earlier, features=FEATURES)
    there = {place for part in known for place in part.places}
    missing = [example for place, example in enumerate(examples) if place not in there]
    computed = None
    if missing:
        computed = _computed(config, data, warm, shard, missing, progress)
    features = put_together([example.row_id for example in examples], known, computed)
    attributes = {"split": shard.split, "checkpoint": shard.checkpoint}
    write_shard(
        draft.path / FEATURES, features, storage=config.gradients.storage, attributes=attributes
    )
    draft.summary |= shard.model_dump(exclude={"earlier"}) | {
        "rows": len(features.row_ids),
        "known_rows": len(there),
        "nonfinite_row_ids": features.nonfinite_row_ids,
        "eps_dominated_share": features.eps_dominated_share,
        "mean_loss": float(features.losses.mean()),
        "norm_quantiles": features.norm_quantiles(),
        "compute_seconds": features.seconds,
    }
    key_of = {example.row_id: key for example, key in zip(examples, keys, strict=True)}
    leave_keys(draft.path, [key_of[row_id] for row_id in features.row_ids])
    announce(store, identity)


def _computed(
    config: RunConfig,
    data: Handle,
    warm: Handle,
    shard: Shard,
    examples: list[TokenizedExample],
    progress: Progress,
) -> Features:
    section, kind = config.gradients, config.gradients.train_feature
    model, moments, projector = _loaded.get(config, warm, shard.checkpoint)
    if moments is None and TRAINING_FEATURES[kind].moments and shard.split == "train":
        msg = (
            f"gradients.train_feature: {kind} needs Adam's moments, which the warmup's "
            "checkpoints lack; set it to sgd, or give checkpoints with an optimizer"
        )
        raise ConfigError(msg)
    pad_token_id = load_tokenizer(config.model).pad_token_id
    return compute_features(
        model,
        examples,
        feature=kind if shard.split == "train" else validation_feature(kind),
        projector=projector,
        moments=moments,
        options={name: getattr(section, name) for name in TRAINING_FEATURES[kind].options},
        tokens_per_batch=section.tokens_per_batch,
        pad_token_id=pad_token_id,
        curvature=fitted_curvature(config, data, warm, shard.checkpoint, model, pad_token_id)
        if TRAINING_FEATURES[kind].curvature
        else None,
        on_nonfinite=section.on_nonfinite,
        on_progress=progress,
    )


run_gradient_shard = stage_task(
    "gradients", identify, compute, label="{shard.label}", task_run_name="{shard.label}"
)


class LoadedCheckpoint:
    """The model of the last checkpoint, kept in memory between calls."""

    def __init__(self) -> None:
        self._key: tuple[str, ...] = ()
        self._value: tuple[Any, AdamMoments | None, Any] | None = None

    def get(
        self, config: RunConfig, warm: Handle, checkpoint: int
    ) -> tuple[Any, AdamMoments | None, Any]:
        """Return (model with adapter, moments or None if the warmup has none, projector)."""
        section = config.gradients
        key = (warm.key, str(checkpoint), config.model.device, config.model.dtype,
               section.projection, str(section.dim), str(section.layers),
               str(config.seed))  # fmt: skip
        if self._value is None or key != self._key:
            self.clear()
            folder = warm.path() / CHECKPOINT.format(checkpoint)
            model = load_adapter(config.model, folder, trainable=True)
            moments = _moments(warm, folder)
            if section.layers is not None:
                names = train_last_layers(model, section.layers)
                moments = None if moments is None else moments.of(names)
            projector = make_projector(
                section.projection, n_trainable(model), section.dim, config.seed
            )
            self._key, self._value = key, (model, moments, projector)
        return self._value

    def clear(self) -> None:
        """Release the model."""
        self._key, self._value = (), None
        gc.collect()


_loaded = LoadedCheckpoint()


def _moments(warm: Handle, folder: Path) -> AdamMoments | None:
    return AdamMoments.load(folder) if warm.summary().get("has_moments", True) else None


def release_model() -> None:
    """Free the memory of the model that the last shard used."""
    _loaded.clear()
