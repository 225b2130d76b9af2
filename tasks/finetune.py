"""Stage `finetune`: adapters trained on one selection."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bids_core.artifacts import ArtifactStore, Draft, Handle
from bids_core.config import RunConfig
from bids_core.finetune import finetune
from bids_core.modeling import add_lora, load_base, load_tokenizer
from tasks.identity import finetune_identity, finetune_seed, training_config
from tasks.prepare import load_prepared, rows_digest
from tasks.selection import read_selection
from tasks.stage import Stage, run_stage, stage_task

if TYPE_CHECKING:
    from bids_core.progress import Progress

VERSION: Final = 1
ADAPTER: Final = "adapter"


@stage_task("finetune", task_run_name="finetune {method}")
def run_finetune(config: RunConfig, data: Handle, selection: Handle, method: str) -> Handle:
    """Train fresh adapters on the selected rows (in pool order: a set has one fingerprint).

    `data` is tokenized for the model that is trained (`finetune.model`, or the run's).
    """
    config, seed = training_config(config), finetune_seed(config)
    train = load_prepared(data).train
    chosen = set(read_selection(selection)["row_id"])
    mask = train.frame["row_id"].isin(chosen)
    stage = Stage(
        "finetune",
        VERSION,
        config=finetune_identity(config),
        inputs={"rows": rows_digest(train.frame[mask])},
        seed=seed,
    )

    def compute(draft: Draft, progress: Progress) -> None:
        tokenizer = load_tokenizer(config.model)
        model = add_lora(load_base(config.model), config.lora, seed=seed)
        with tempfile.TemporaryDirectory() as scratch:
            draft.summary |= finetune(
                model,
                [example for example in train.examples() if example.row_id in chosen],
                config.finetune,
                pad_token_id=tokenizer.pad_token_id,
                seed=seed,
                folder=draft.path / ADAPTER,
                scratch=Path(scratch),
                on_progress=progress,
            )
        tokenizer.save_pretrained(draft.path / ADAPTER)

    store = ArtifactStore(config.store)
    return run_stage(store, stage, compute, label=f"finetune {method}")
