"""Stage `finetune`: a model trained on one selection."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from bids_core.artifacts import Draft, Handle, Identity
from bids_core.config import RunConfig
from bids_core.models.load import load_tokenizer
from bids_core.publishing.model_card import model_card
from bids_core.training.finetune import file_name, finetune, loss_curves, saved_in, trainable_model
from bids_core.training.launch import finetune_in_processes
from tasks.identity import model_identity, training_config
from tasks.manifest import shown_config
from tasks.prepare import load_prepared, rows_digest
from tasks.runtime.stage import stage_task
from tasks.selection import read_selection

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from bids_core.progress import Progress

logger = logging.getLogger(__name__)

VERSION: Final = 2
_NAMED: Final = 5


def identify(config: RunConfig, data: Handle, selection: Handle, method: str) -> Identity:  # noqa: ARG001 - a label
    """Return the identity of a fine-tuned model: the tokens of its rows (as a set), the settings.

    Args:
        config: the run.
        data: tokenized for the model that is trained (`finetune.model`, or the run's).
        selection: the picks.
        method: display name of the method that selected them.
    """
    config = training_config(config)
    values = model_identity(config, "finetune")
    if config.finetune.kind == "full":
        del values["lora"]
    frame = _chosen(data, selection)
    return Identity(
        "finetune",
        VERSION,
        config=values,
        inputs={"rows": rows_digest(frame)},
        seed=config.seed,
        uses=(data.key, selection.key),
    )


def compute(
    config: RunConfig,
    data: Handle,
    selection: Handle,
    method: str,
    *,
    draft: Draft,
    progress: Progress,
) -> None:
    """Train on the selected rows, in pool order.

    A killed training continues from its last checkpoint.
    """
    config = training_config(config)
    frame = _chosen(data, selection)
    train = _train_together if config.execution.processes > 1 else _train
    draft.summary |= train(config, data, frame, method, draft, progress)
    chosen = set(read_selection(selection)["row_id"])
    draft.summary["rows_missing"] = _missing(chosen, set(frame["row_id"]))
    load_tokenizer(config.model).save_pretrained(saved_in(draft.path))
    sources = {str(name): int(n) for name, n in frame["source"].value_counts().items()}
    shown = shown_config(config, config.output_dir / config.name)
    card = model_card(shown, method=method, summary=draft.summary, sources=sources)
    (saved_in(draft.path) / "README.md").write_text(card, encoding="utf-8")


run_finetune = stage_task(
    "finetune",
    identify,
    compute,
    label="finetune {method}",
    task_run_name="finetune {method}",
)


def _chosen(data: Handle, selection: Handle) -> pd.DataFrame:
    """Return the selected rows, in pool order, so that a set of rows has one fingerprint."""
    frame = load_prepared(data).train.frame
    return frame[frame["row_id"].isin(set(read_selection(selection)["row_id"]))]


def _train(
    config: RunConfig,
    data: Handle,
    frame: pd.DataFrame,
    method: str,
    draft: Draft,
    progress: Progress,
) -> dict[str, Any]:
    chosen = set(frame["row_id"])
    model, autocast = trainable_model(config.model, config.lora, config.finetune, seed=config.seed)
    return finetune(
        model,
        [one for one in load_prepared(data).train.examples() if one.row_id in chosen],
        config.finetune,
        pad_token_id=load_tokenizer(config.model).pad_token_id,
        seed=config.seed,
        folder=draft.path,
        scratch=draft.scratch(),
        autocast=autocast,
        callbacks=loss_curves(config.finetune.report_to, folder=_curves(config, method)),
        run_name=f"{config.name} {method}",
        on_progress=progress,
    )


def _train_together(
    config: RunConfig,
    data: Handle,
    frame: pd.DataFrame,
    method: str,
    draft: Draft,
    progress: Progress,
) -> dict[str, Any]:
    return finetune_in_processes(
        config.model,
        config.lora,
        config.finetune,
        data=data.path(),
        row_ids=sorted(frame["row_id"]),
        seed=config.seed,
        folder=draft.path,
        scratch=draft.scratch(),
        curves=_curves(config, method),
        run_name=f"{config.name} {method}",
        processes=config.execution.processes,
        sharding=config.execution.sharding,
        on_progress=progress,
    )


def _curves(config: RunConfig, method: str) -> Path:
    return config.output_dir.resolve() / config.name / "logs" / file_name(method)


def _missing(chosen: set[str], there: set[str]) -> list[str]:
    """Return the picks that were rejected for the trained model (its tokens may be longer)."""
    missing = sorted(chosen - there)
    if missing:
        named = ", ".join(missing[:_NAMED]) + (", ..." if len(missing) > _NAMED else "")
        logger.warning(
            "%d of %d picks are not trained on, because they are too long for the trained "
            "model (data.max_length) or its chat template refuses them: %s",
            len(missing), len(chosen), named,
        )  # fmt: skip
    return missing
