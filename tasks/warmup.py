"""Stage `warmup`: LoRA checkpoints with Adam moments."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bids_core.artifacts import ArtifactStore, Draft, Handle
from bids_core.config import RunConfig
from bids_core.models.load import add_lora, load_base, load_tokenizer
from bids_core.training.launch import warmup_in_processes
from bids_core.training.warmup import warmup
from tasks.identity import warmup_identity
from tasks.prepare import load_prepared
from tasks.runtime.stage import Stage, run_stage, stage_task

if TYPE_CHECKING:
    from bids_core.progress import Progress

VERSION: Final = 1


@stage_task("warmup")
def run_warmup(config: RunConfig, data: Handle) -> Handle:
    """Train adapters on the pool (or a share of it), a checkpoint each epoch."""
    stage = Stage(
        "warmup",
        VERSION,
        config=warmup_identity(config),
        inputs={"train": data.summary()["digests"]["train"]},
        seed=config.seed,
    )

    def compute(draft: Draft, progress: Progress) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            train = _train_together if config.execution.processes > 1 else _train
            draft.summary |= train(config, data, draft.path, Path(scratch), progress)

    return run_stage(ArtifactStore(config.store), stage, compute, label="warmup")


def _train(
    config: RunConfig, data: Handle, folder: Path, scratch: Path, progress: Progress
) -> dict[str, Any]:
    tokenizer = load_tokenizer(config.model)
    return warmup(
        add_lora(load_base(config.model), config.lora, seed=config.seed),
        load_prepared(data).train.examples(),
        config.warmup,
        pad_token_id=tokenizer.pad_token_id,
        seed=config.seed,
        folder=folder,
        scratch=scratch,
        on_progress=progress,
    )


def _train_together(
    config: RunConfig, data: Handle, folder: Path, scratch: Path, progress: Progress
) -> dict[str, Any]:
    return warmup_in_processes(
        config.model,
        config.lora,
        config.warmup,
        data=data.path(),
        seed=config.seed,
        folder=folder,
        scratch=scratch,
        processes=config.execution.processes,
        sharding=config.execution.sharding,
        on_progress=progress,
    )
