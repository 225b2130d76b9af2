"""Stage `attribution`: the influence of every training row on every validation instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict

from bids_core.artifacts import ArtifactStore, Draft, Handle
from bids_core.attribution import stream_influence
from bids_core.config import RunConfig
from bids_core.gradients import FisherMetric, open_store
from tasks.gradients import FEATURES, release_model
from tasks.identity import gradient_identity
from tasks.prepare import load_prepared
from tasks.stage import Stage, run_stage, stage_task

if TYPE_CHECKING:
    from bids_core.progress import Progress

VERSION: Final = 1
MATRIX: Final = "attribution.zarr"


class CheckpointGradients(BaseModel):
    """The shards of one checkpoint, in row order."""

    model_config = ConfigDict(frozen=True)

    train: tuple[Handle, ...]
    """Shards of the training pool."""
    validation: tuple[Handle, ...]
    """Shards of the validation instances."""


@stage_task("attribution")
def run_attribution(
    config: RunConfig,
    data: Handle,
    warm: Handle,
    gradients: tuple[CheckpointGradients, ...],
) -> Handle:
    """Compute A[i, j], the weighted sum over checkpoints of the cosines of the features."""
    release_model()
    digests = data.summary()["digests"]
    stage = Stage(
        "attribution",
        VERSION,
        config={
            **{split: gradient_identity(config, split) for split in ("train", "validation")},
            **_metric_identity(config),
        },
        inputs={
            "warmup": warm.fingerprint,
            "train": digests["train"],
            "validation": digests["validation"],
        },
        seed=config.seed,
    )

    def compute(draft: Draft, progress: Progress) -> None:
        validation = load_prepared(data).validation.frame
        weights = warm.summary()["checkpoint_weights"]
        section = config.gradients
        train = [open_store([h.path() / FEATURES for h in part.train]) for part in gradients]
        fisher = section.metric == "fisher"
        stream_influence(
            train,
            [open_store([h.path() / FEATURES for h in part.validation]) for part in gradients],
            weights,
            draft.path / MATRIX,
            tasks=validation["task"].tolist(),
            capabilities=validation["capability"].tolist(),
            subtasks=validation["subtask"].tolist(),
            metrics=[FisherMetric.fit(store, damping=section.damping) for store in train]
            if fisher
            else None,
            on_progress=progress,
        )
        draft.summary["checkpoint_weights"] = weights

    return run_stage(ArtifactStore(config.store), stage, compute, label="attribution", unit="rows")


def _metric_identity(config: RunConfig) -> dict[str, Any]:
    """Return what the metric adds to the stage's identity: nothing for plain cosines."""
    section = config.gradients
    if section.metric == "cosine":
        return {}
    return {"metric": section.metric, "damping": section.damping}
