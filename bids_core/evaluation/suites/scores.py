"""Evaluates a model on the suites' tasks: one line per task, as in the papers."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from bids_core.evaluation.answers import majority_score
from bids_core.evaluation.scores import Evaluation, macro_average, shortened

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lm_eval.api.model import LM

    from bids_core.evaluation.suites.loading import LoadedTask

FEW_SHOT_SEED: Final = 1234
"""lm-eval's default, so that randomly drawn few-shot examples are the usual ones."""
_CHOICE: Final = "multiple_choice"


def evaluate_suite_task(model: LM, loaded: LoadedTask, *, chat: bool) -> Evaluation:
    """Run lm-eval's evaluator on one task of a suite.

    Args:
        model: one of lm-eval's models.
        loaded: the task, with its data.
        chat: apply the chat template to prompts, with few-shot examples as turns.

    Returns:
        `scores`: one row for the task, with the columns of `evaluate` (no answer loss; majority for
            multiple choice only); `more` has the scores of its lm-eval tasks, and how many rows
            were left out as validation instances. `samples`: one row per test row; `part` names the
            lm-eval task it is from.
    """
    from lm_eval.evaluator import evaluate as run_harness

    from bids_core.evaluation.suites.quiet import offline_and_quiet

    for task in loaded.tasks.values():
        task.set_fewshot_seed(seed=FEW_SHOT_SEED)
    with offline_and_quiet():
        results = run_harness(
            lm=model,
            task_dict={"tasks": loaded.tasks, "groups": {}, "group_map": {}},
            samples={
                name: loaded.kept[name]
                for name, task in loaded.tasks.items()
                if len(loaded.kept[name]) < len(task.eval_docs)
            },
            bootstrap_iters=1,  # enables standard errors; that of a mean needs no bootstrap
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
            confirm_run_unsafe_code=loaded.suite_task.runs_code,  # ours was asked before
        )
    samples = pd.concat(
        [_samples(name, results["samples"][name], loaded) for name in loaded.tasks],
        ignore_index=True,
    )
    return Evaluation(pd.DataFrame([_score(loaded, samples)]), samples)


def suite_averages(scores: pd.DataFrame, members: Mapping[str, list[str]]) -> dict[str, Any]:
    """Return each suite's macro averages, as defined in the papers.

    Args:
        scores: one row per task.
        members: tasks of each suite.

    Returns:
        By suite: `task`, the mean over its tasks; `capability`, the mean over tasks within each
        capability, then over capabilities; `missing`, its tasks that were not evaluated (left out
        of both).
    """
    found: dict[str, Any] = {}
    for suite, names in members.items():
        part = scores[scores["task"].isin(names)]
        found[suite] = {
            **macro_average(part),
            "missing": [name for name in names if name not in set(part["task"])],
        }
    return found


def _samples(name: str, rows: list[dict[str, Any]], loaded: LoadedTask) -> pd.DataFrame:
    """Return the rows of one lm-eval task, scored by the task's main metric."""
    metric, _, kind = loaded.metric.partition(",")
    chosen = [row for row in rows if row["filter"] == kind]
    chosen.sort(key=lambda row: int(row["doc_id"]))
    choice = loaded.tasks[name].OUTPUT_TYPE == _CHOICE
    scores = [float(row[metric]) for row in chosen]
    return pd.DataFrame(
        {
            "row_id": [f"{name}:{row['doc_id']}" for row in chosen],
            "task": loaded.suite_task.name,
            "prompt": [shortened(str(row["arguments"][0][0])) for row in chosen],
            "reference": [str(row["target"]) for row in chosen],
            "prediction": [str(row["filtered_resps"][0]) for row in chosen],
            "generation": [None if choice else str(row["resps"][0][0]) for row in chosen],
            "score": scores,
            "correct": pd.array([score == 1.0 for score in scores], "boolean"),
            "answer_loss": math.nan,
            "part": name,
        }
    )


def _score(loaded: LoadedTask, samples: pd.DataFrame) -> dict[str, Any]:
    parts = samples.groupby("part")["score"].agg(["mean", "sem", "size"])
    by_size = loaded.suite_task.by_size
    weights = parts["size"] / parts["size"].sum() if by_size else 1.0 / len(parts)
    variance = ((weights * parts["sem"]) ** 2).sum(skipna=False)  # unknown if a part has one row
    choice = all(task.OUTPUT_TYPE == _CHOICE for task in loaded.tasks.values())
    return {
        "task": loaded.suite_task.name,
        "capability": loaded.suite_task.capability,
        "metric": loaded.metric,
        "n": len(samples),
        "score": float((weights * parts["mean"]).sum()),
        "stderr": float(math.sqrt(variance)),
        "majority": majority_score(list(samples["reference"])) if choice else math.nan,
        "answer_loss": math.nan,
        "answer_loss_stderr": math.nan,
        "more": json.dumps(
            {
                "parts": parts["mean"].to_dict() if len(parts) > 1 else {},
                "excluded": sum(loaded.excluded.values()),
            }
        ),
    }
