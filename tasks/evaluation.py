"""Stage `evaluation`: held-out scores of one model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import pandas as pd

from bids_core.artifacts import ArtifactStore, Draft, Handle
from bids_core.config import RunConfig
from bids_core.evaluation import evaluate, macro_average
from bids_core.finetune import load_tuned
from bids_core.modeling import load_base, load_tokenizer
from tasks.identity import model_identity, training_config
from tasks.prepare import load_prepared
from tasks.stage import Stage, run_stage, stage_task

if TYPE_CHECKING:
    from bids_core.progress import Progress

VERSION: Final = 1
SCORES: Final = "scores.parquet"
SAMPLES: Final = "samples.parquet"
ZERO_SHOT: Final = "zero_shot"
_TASK_FIELDS: Final = {"task", "capability", "metric", "answer_pattern", "max_new_tokens"}


@stage_task("evaluation", task_run_name="evaluation {method}")
def run_evaluation(config: RunConfig, data: Handle, tuned: Handle | None, method: str) -> Handle:
    """Evaluate a fine-tuned model, or the base model if `tuned` is None.

    `data` is tokenized for the model that is evaluated (`finetune.model`, or the run's).
    """
    config = training_config(config)
    stage = Stage(
        "evaluation",
        VERSION,
        config={
            **model_identity(config),
            "tasks": [t.model_dump(mode="json", include=_TASK_FIELDS) for t in config.test],
        },
        inputs={
            "finetune": tuned.fingerprint if tuned else None,
            "test": data.summary()["digests"]["test"],
        },
    )

    def compute(draft: Draft, progress: Progress) -> None:
        model = load_base(config.model) if tuned is None else load_tuned(config.model, tuned.path())
        result = evaluate(
            model,
            load_tokenizer(config.model),
            load_prepared(data).test,
            config.test,
            tokens_per_batch=config.evaluation.tokens_per_batch,
            on_progress=progress,
        )
        result.scores.to_parquet(draft.path / SCORES, index=False)
        result.samples.to_parquet(draft.path / SAMPLES, index=False)
        averages = macro_average(result.scores)
        draft.summary["macro_average"] = {
            name: value if math.isfinite(value) else None for name, value in averages.items()
        }  # None: no task has a score, only answer losses

    store = ArtifactStore(config.store)
    return run_stage(store, stage, compute, label=f"evaluation {method}")


def read_scores(evaluations: dict[str, Handle]) -> pd.DataFrame:
    """Return the scores of all methods in one table, with a column `method` first."""
    parts = [
        pd.read_parquet(handle.path() / SCORES).assign(method=method)
        for method, handle in evaluations.items()
    ]
    scores = pd.concat(parts, ignore_index=True)
    return scores[["method", *[name for name in scores.columns if name != "method"]]]
