"""Stage `attribution`: the influence of every training row on every validation instance."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict

from bids_core.artifacts import Draft, Handle, Identity
from bids_core.config import RunConfig
from bids_core.config.slices import sliced
from bids_core.errors import DataError
from bids_core.gradients import FisherMetric, align, open_store
from bids_core.influence.attribution import stream_influence
from bids_core.training.warmup import weights_of
from tasks.gradients import FEATURES, release_model
from tasks.identity import gradient_identity
from tasks.prepare import load_prepared
from tasks.runtime.stage import stage_task
from tasks.warmup import used_checkpoints

if TYPE_CHECKING:
    import pandas as pd

    from bids_core.gradients import GradientStore
    from bids_core.progress import Progress

logger = logging.getLogger(__name__)

VERSION: Final = 2
MATRIX: Final = "attribution.zarr"


class CheckpointGradients(BaseModel):
    """The shards of one checkpoint, in row order."""

    model_config = ConfigDict(frozen=True)

    train: tuple[Handle, ...]
    """Shards of the training pool."""
    validation: tuple[Handle, ...]
    """Shards of the validation instances."""


def identify(
    config: RunConfig,
    data: Handle,
    warm: Handle,
    gradients: tuple[CheckpointGradients, ...],
    screen: Handle | None = None,
) -> Identity:
    """Return the identity of a matrix: the features of all rows at all checkpoints.

    Args:
        config: the run.
        data: prepared data with the rows that have gradients.
        warm: the warmup.
        gradients: of these rows.
        screen: the artifact that chose these rows from the pool; None if they are the whole pool.
    """
    digests = data.summary()["digests"]
    shards = [shard for part in gradients for shard in (*part.train, *part.validation)]
    features = {split: gradient_identity(config, split) for split in ("train", "validation")}
    return Identity(
        "attribution",
        VERSION,
        config=features | sliced(config, "attribution"),
        inputs={
            "warmup": warm.fingerprint,
            "train": digests["train"],
            "validation": digests["validation"],
        }
        | ({} if screen is None else {"screen": screen.fingerprint}),
        seed=config.seed,
        uses=(data.key, warm.key, *(shard.key for shard in shards)),
    )


def compute(
    config: RunConfig,
    data: Handle,
    warm: Handle,
    gradients: tuple[CheckpointGradients, ...],
    screen: Handle | None = None,
    *,
    draft: Draft,
    progress: Progress,
) -> None:
    """Compute A[i, j], the weighted sum over checkpoints of the cosines of the features."""
    release_model()
    numbers = used_checkpoints(config, warm)
    weights = weights_of(warm.summary()["checkpoint_weights"], numbers)
    section = config.gradients
    train, rejected = align([_open(part.train) for part in gradients])
    held_out, lost = align([_open(part.validation) for part in gradients])
    validation = _kept(load_prepared(data).validation.frame, held_out[0].row_ids)
    rejected = _rejected(gradients, "train", rejected)
    lost = _rejected(gradients, "validation", lost)
    fisher = section.metric == "fisher"
    stream_influence(
        train,
        held_out,
        weights,
        draft.path / MATRIX,
        tasks=validation["task"].tolist(),
        capabilities=validation["capability"].tolist(),
        subtasks=validation["subtask"].tolist(),
        keep_checkpoints=section.keep_checkpoints and len(train) > 1,
        metrics=[FisherMetric.fit(store, damping=section.damping) for store in train]
        if fisher
        else None,
        dot=section.metric == "dot",
        attributes={"checkpoint_numbers": numbers}
        | ({} if screen is None else {"pool_rows": screen.summary()["pool_rows"]}),
        on_progress=progress,
    )
    draft.summary |= {
        "checkpoint_weights": weights,
        "nonfinite_row_ids": rejected,
        "nonfinite_validation_ids": lost,
    }
    for what, row_ids in (("pool rows", rejected), ("validation instances", lost)):
        if row_ids:
            logger.warning(
                "%d %s have no finite gradient at some checkpoint and are left out: %s",
                len(row_ids), what, ", ".join(row_ids[:10]),
            )  # fmt: skip


run_attribution = stage_task("attribution", identify, compute, unit="rows")


def _open(shards: tuple[Handle, ...]) -> GradientStore:
    return open_store([shard.path() / FEATURES for shard in shards])


def _rejected(
    gradients: tuple[CheckpointGradients, ...], split: str, misaligned: list[str]
) -> list[str]:
    """Return the rows without a feature at some checkpoint, each once."""
    shards = [shard for part in gradients for shard in getattr(part, split)]
    listed = [row_id for shard in shards for row_id in shard.summary()["nonfinite_row_ids"]]
    return list(dict.fromkeys(listed + misaligned))


def _kept(frame: pd.DataFrame, row_ids: list[str]) -> pd.DataFrame:
    """Return the validation rows that have features.

    Raises:
        DataError: a task has no rows left.
    """
    kept = frame.set_index("row_id").loc[row_ids]
    lost = [task for task in frame["task"].unique() if task not in set(kept["task"])]
    if lost:
        msg = (
            f"no validation instance of task {lost[0]!r} has a finite gradient at every "
            "checkpoint; check the warmup loss, or use model.dtype float32"
        )
        raise DataError(msg)
    return kept
