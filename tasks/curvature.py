"""The Fisher matrix of `train_feature: ekfac`: one artifact per checkpoint.

It is fitted to a sample of the pool inside the first gradient shard that needs it; later shards
find it in the store. If several need it at the same time, one of them fits it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bids_core.artifacts import ArtifactStore, Draft, Handle, Identity
from bids_core.gradients import Ekfac
from bids_core.training.warmup import draw
from tasks.identity import model_identity
from tasks.kept_warmup import seen_keys
from tasks.prepare import load_prepared, pool_keys, rows_digest

if TYPE_CHECKING:
    from torch import nn

    from bids_core.config import RunConfig

VERSION: Final = 2
# Grosse et al. 2023 find that the factors need far less data than training.
SAMPLE_ROWS: Final = 512


def identify_curvature(config: RunConfig, data: Handle, warm: Handle, checkpoint: int) -> Identity:
    """Return the identity of the curvature at a checkpoint."""
    frame = load_prepared(data).train.frame.iloc[_sample(config, data, warm)]
    return Identity(
        "curvature",
        VERSION,
        config=model_identity(config, "curvature"),
        inputs={
            "warmup": warm.fingerprint,
            "checkpoint": checkpoint,
            "rows": rows_digest(frame),
        },
        seed=config.seed,
        uses=(data.key, warm.key),
    )


def fitted_curvature(
    config: RunConfig,
    data: Handle,
    warm: Handle,
    checkpoint: int,
    model: nn.Module,
    pad_token_id: int,
) -> Ekfac:
    """Return the curvature; fit it unless the store has it intact."""

    def fit(draft: Draft) -> None:
        examples = load_prepared(data).train.examples()
        Ekfac.fit(
            model,
            [examples[row] for row in _sample(config, data, warm)],
            tokens_per_batch=config.gradients.tokens_per_batch,
            pad_token_id=pad_token_id,
        ).save(draft.path)

    identity = identify_curvature(config, data, warm, checkpoint)
    found = ArtifactStore(config.store).get_or_compute(identity, fit)
    return Ekfac.load(found.handle.path(), damping=config.gradients.damping)


def _sample(config: RunConfig, data: Handle, warm: Handle) -> list[int]:
    """Draw rows by their content from the warmup's pool.

    So if the warmup is kept, rows that join the pool change neither the sample nor any gradient.
    """
    keys, seen = pool_keys(data), seen_keys(warm)
    drawn = [
        (draw(key, config.seed), row) for row, key in enumerate(keys) if seen is None or key in seen
    ]
    return sorted(row for _, row in sorted(drawn)[:SAMPLE_ROWS])
