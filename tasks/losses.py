"""Stage `losses`: losses of the validation and test rows under one model; nothing is generated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from bids_core.artifacts import Draft, Handle, Identity
from bids_core.config import RunConfig
from bids_core.data import read_table
from bids_core.diagnostics.held_out import completion_losses
from bids_core.models.load import load_base, load_tokenizer
from bids_core.training.finetune import load_tuned
from tasks.identity import model_identity, training_config
from tasks.prepare import load_prepared
from tasks.runtime.stage import stage_task

if TYPE_CHECKING:
    from bids_core.progress import Progress

VERSION: Final = 2
LOSSES: Final = "losses.parquet"
SPLITS: Final = ("validation", "test")


def identify(config: RunConfig, data: Handle, tuned: Handle | None, method: str) -> Identity:  # noqa: ARG001 - a label
    """Return the identity of losses: the model and the rows.

    Args:
        config: the run.
        data: tokenized for the model that is trained (`finetune.model`, or the run's).
        tuned: the fine-tuned model; None: the base model.
        method: display name of the method that selected its rows.
    """
    digests = data.summary()["digests"]
    return Identity(
        "losses",
        VERSION,
        config=model_identity(training_config(config), "losses"),
        inputs={
            "finetune": tuned.fingerprint if tuned else None,
            **{split: digests[split] for split in SPLITS},
        },
        uses=(data.key, *((tuned.key,) if tuned else ())),
    )


def compute(
    config: RunConfig,
    data: Handle,
    tuned: Handle | None,
    method: str,  # noqa: ARG001 - a label
    *,
    draft: Draft,
    progress: Progress,
) -> None:
    """Compute the losses of all held-out rows that have a completion."""
    config = training_config(config)
    model = load_tuned(config.model, tuned.path()) if tuned else load_base(config.model)
    prepared = load_prepared(data)
    frame = pd.concat([getattr(prepared, split).frame.assign(split=split) for split in SPLITS])
    has_answer = (frame["n_completion_tokens"] > 0).to_numpy()
    examples = [e for split in SPLITS for e in getattr(prepared, split).examples()]
    kept = frame.loc[has_answer, ["split", "row_id", "task"]]
    losses = completion_losses(
        model,
        [example for example, kept_one in zip(examples, has_answer, strict=True) if kept_one],
        tokens_per_batch=config.evaluation.tokens_per_batch,
        pad_token_id=load_tokenizer(config.model).pad_token_id,
        on_progress=progress,
    )
    kept.assign(loss=losses).to_parquet(draft.path / LOSSES, index=False)
    draft.summary |= {"rows": len(kept), "rows_without_answer": int((~has_answer).sum())}


run_losses = stage_task(
    "losses", identify, compute, label="losses {method}", task_run_name="losses {method}"
)


def read_losses(handle: Handle) -> pd.DataFrame:
    """Return split, row_id, task and loss of each held-out row."""
    return read_table(handle.path() / LOSSES)
