"""The Fisher matrix that `train_feature: ekfac` measures gradients in: one artifact a checkpoint.

It is fitted to a sample of the pool inside the first gradient shard that needs it; the others find
it in the store. Shards that need it at the same time compute the same one, and one of them stays.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from bids_core.artifacts import ArtifactStore, Handle
from bids_core.gradients import Ekfac
from tasks.identity import model_identity
from tasks.prepare import load_prepared, rows_digest
from tasks.runtime.stage import Stage

if TYPE_CHECKING:
    from torch import nn

    from bids_core.config import RunConfig

VERSION: Final = 1
# Grosse et al. 2023 find that the factors need far less data than training does.
SAMPLE_ROWS: Final = 512


def curvature_stage(config: RunConfig, data: Handle, warm: Handle, checkpoint: int) -> Stage:
    """Return what identifies the curvature of a checkpoint."""
    frame = load_prepared(data).train.frame.iloc[_sample(config, data)]
    return Stage(
        "curvature",
        VERSION,
        config=model_identity(config),
        inputs={
            "warmup": warm.fingerprint,
            "checkpoint": checkpoint,
            "rows": rows_digest(frame),
        },
        seed=config.seed,
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
    stage = curvature_stage(config, data, warm, checkpoint)
    store, section = ArtifactStore(config.store), config.gradients
    handle = store.find(stage.name, stage.fingerprint)
    if handle is None:
        examples = load_prepared(data).train.examples()
        identity: dict[str, Any] = {
            "version": stage.version,
            "config": stage.config,
            "inputs": stage.inputs,
        }
        with store.create(stage.name, stage.fingerprint, seed=config.seed, **identity) as draft:
            Ekfac.fit(
                model,
                [examples[row] for row in _sample(config, data)],
                tokens_per_batch=section.tokens_per_batch,
                pad_token_id=pad_token_id,
            ).save(draft.path)
        handle = store.handle(stage.name, stage.fingerprint)
    return Ekfac.load(handle.path(), damping=section.damping)


def _sample(config: RunConfig, data: Handle) -> list[int]:
    n_rows = len(load_prepared(data).train.frame)
    drawn = random.Random(config.seed).sample(range(n_rows), min(SAMPLE_ROWS, n_rows))  # noqa: S311
    return sorted(drawn)
