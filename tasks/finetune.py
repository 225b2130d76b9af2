"""Stage `finetune`: a model trained on one selection."""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING, Final

from bids_core.artifacts import ArtifactStore, Draft, Handle
from bids_core.config import RunConfig
from bids_core.models.load import load_tokenizer
from bids_core.publishing.model_card import model_card
from bids_core.training.finetune import file_name, finetune, loss_curves, saved_in, trainable_model
from bids_core.training.launch import finetune_in_processes
from tasks.identity import finetune_identity, finetune_seed, training_config
from tasks.prepare import load_prepared, rows_digest
from tasks.runtime.stage import Stage, run_stage, stage_task
from tasks.selection import read_selection

if TYPE_CHECKING:
    from bids_core.progress import Progress

logger = logging.getLogger(__name__)

VERSION: Final = 1
_NAMED: Final = 5


@stage_task("finetune", task_run_name="finetune {method}")
def run_finetune(config: RunConfig, data: Handle, selection: Handle, method: str) -> Handle:
    """Train on the selected rows (in pool order: a set has one fingerprint).

    A training that was killed goes on from its last checkpoint.

    Args:
        config: the run.
        data: tokenized for the model that is trained (`finetune.model`, or the run's).
        selection: the picks.
        method: what selected them, for people.
    """
    config, seed = training_config(config), finetune_seed(config)
    train = load_prepared(data).train
    chosen = set(read_selection(selection)["row_id"])
    frame = train.frame[train.frame["row_id"].isin(chosen)]
    stage = Stage(
        "finetune",
        VERSION,
        config=finetune_identity(config),
        inputs={"rows": rows_digest(frame)},
        seed=seed,
    )
    store = ArtifactStore(config.store)

    def compute(draft: Draft, progress: Progress) -> None:
        scratch = store.scratch(store.handle(stage.name, stage.fingerprint))
        curves = config.output_dir.resolve() / config.name / "logs" / file_name(method)
        if config.execution.processes > 1:
            draft.summary |= finetune_in_processes(
                config.model,
                config.lora,
                config.finetune,
                data=data.path(),
                row_ids=sorted(frame["row_id"]),
                seed=seed,
                folder=draft.path,
                scratch=scratch,
                curves=curves,
                run_name=f"{config.name} {method}",
                processes=config.execution.processes,
                sharding=config.execution.sharding,
                on_progress=progress,
            )
        else:
            model, autocast = trainable_model(config.model, config.lora, config.finetune, seed=seed)
            draft.summary |= finetune(
                model,
                [example for example in train.examples() if example.row_id in chosen],
                config.finetune,
                pad_token_id=load_tokenizer(config.model).pad_token_id,
                seed=seed,
                folder=draft.path,
                scratch=scratch,
                autocast=autocast,
                callbacks=loss_curves(config.finetune.report_to, folder=curves),
                run_name=f"{config.name} {method}",
                on_progress=progress,
            )
        draft.summary["rows_missing"] = _missing(chosen, set(frame["row_id"]))
        load_tokenizer(config.model).save_pretrained(saved_in(draft.path))
        sources = {str(name): int(n) for name, n in frame["source"].value_counts().items()}
        card = model_card(config, method=method, summary=draft.summary, sources=sources)
        (saved_in(draft.path) / "README.md").write_text(card, encoding="utf-8")
        shutil.rmtree(scratch)

    return run_stage(store, stage, compute, label=f"finetune {method}")


def _missing(chosen: set[str], there: set[str]) -> list[str]:
    """Return the picks that the trained model's tokenizer rejected (its rows may be longer)."""
    missing = sorted(chosen - there)
    if missing:
        named = ", ".join(missing[:_NAMED]) + (", ..." if len(missing) > _NAMED else "")
        logger.warning(
            "%d of %d picks are not trained on, for the trained model's tokenizer makes them too "
            "long (data.max_length) or its template refuses them: %s",
            len(missing), len(chosen), named,
        )  # fmt: skip
    return missing
