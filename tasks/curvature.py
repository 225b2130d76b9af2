"""The Fisher matrix that `train_feature: ekfac` measures gradients in: one artifact a checkpoint.

It is fitted to a sample of the pool inside the first gradient shard that needs it; the others find
it in the store; of those that need it at the same time, one fits it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from bids_core.artifacts import ArtifactStore, Draft, Handle, Identity
from bids_core.gradients import Ekfac
from tasks.identity import model_identity
from tasks.prepare import load_prepared, rows_digest

if TYPE_CHECKING:
    from torch import nn

    from bids_core.config import RunConfig

VERSION: Final = 1
# Grosse et al. 2023 find that the factors need far less data than training does.
SAMPLE_ROWS: Final = 512


def identify_curvature(config: RunConfig, data: Handle, warm: Handle, checkpoint: int) -> Identity:
    """Return what the curvature at a checkpoint is made from."""
    frame = load_prepared(data).train.frame.iloc[_sample(config, data)]
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
    """Return the curvature, fitting it unless the store holds it whole."""

    def fit(draft: Draft) -> None:
        examples = load_prepared(data).train.examples()
        Ekfac.fit(
            model,
            [examples[row] for row in _sample(config, data)],
            tokens_per_batch=config.gradients.tokens_per_batch,
            pad_token_id=pad_token_id,
        ).save(draft.path)

    identity = identify_curvature(config, data, warm, checkpoint)
    found = ArtifactStore(config.store).get_or_compute(identity, fit)
    return Ekfac.load(found.handle.path(), damping=config.gradients.damping)


def _sample(config: RunConfig, data: Handle) -> list[int]:
    n_rows = len(load_prepared(data).train.frame)
    drawn = random.Random(config.seed).sample(range(n_rows), min(SAMPLE_ROWS, n_rows))  # noqa: S311
    return sorted(drawn)
