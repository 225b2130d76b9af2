"""Evaluates a model on test tasks: scores by task, answers by row."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import pandas as pd

from bids_core.config import GenerationConfig
from bids_core.errors import DataError
from bids_core.evaluation.answers import majority_score
from bids_core.evaluation.likelihood import answer_losses
from bids_core.evaluation.metrics import METRICS
from bids_core.evaluation.own_tasks import Asking, run_tasks
from bids_core.evaluation.plan import plan_tasks
from bids_core.evaluation.rows import stop_tokens
from bids_core.models.facts import max_positions, vocabulary_size
from bids_core.progress import silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bids_core.config import TestTask
    from bids_core.data import Split
    from bids_core.evaluation.own_tasks import TaskResult
    from bids_core.evaluation.plan import EvaluationPlan
    from bids_core.evaluation.rows import EvaluationRow
    from bids_core.progress import Progress
    from bids_core.sandbox import Limits


ANSWER_LOSS: Final = "answer_loss"
"""Metric of a task without a score, with only the held-out answer loss."""
_PROMPT_SHOWN: Final = 1000
"""Characters of a prompt kept in the samples."""


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation.

    Args:
        scores: one row per task: task, capability, metric, n, score and stderr, majority (score of
            always giving the most frequent reference answer), answer_loss (mean over examples of
            the mean token cross-entropy over the completion, nats), answer_loss_stderr. Score and
            stderr are NaN if the metric is `answer_loss` or every answer was cut off inside a
            thought; the losses if no row has a reference answer; majority if there is no score or a
            row has no reference. `more`: other metrics of the task, as JSON (`unfinished_thoughts`:
            share of answers cut off inside a thought, which score and n leave out); None if it has
            none.
        samples: one row per test example: row_id, task, prompt (shortened), reference (empty if it
            has none), prediction (None if the answer pattern did not match), generation (the whole
            text; None for multiple choice), score (from 0 to 1; NaN if the answer was cut off
            inside a thought), correct (whether the score is 1), answer_loss.
    """

    scores: pd.DataFrame
    samples: pd.DataFrame


def evaluate(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    split: Split,
    tasks: Sequence[TestTask],
    *,
    tokens_per_batch: int,
    code_limits: Limits | None = None,
    generation: GenerationConfig | None = None,
    seed: int = 0,
    thought_markers: tuple[str, str] | None = None,
    on_progress: Progress = silent,
) -> Evaluation:
    """Evaluate a model on the user's own test rows.

    Generation is greedy unless the settings say otherwise, and multiple choice takes the most
    likely choice, so the result is deterministic. The model and the tokenizer are unchanged
    afterwards.

    Args:
        model: causal language model, with or without adapters, on its device.
        tokenizer: the tokenizer of the split.
        split: the test split.
        tasks: the tasks to score.
        tokens_per_batch: padded tokens in one forward pass.
        code_limits: resource limits of generated programs; None if generated code must not be run.
        generation: how to generate answers for tasks without settings; None for greedy decoding.
        seed: seed for sampling, if a temperature is set.
        thought_markers: beginning and end of a thought, if not one of the known markers.
        on_progress: called with (done, all), counting generations, choices, and rows whose answer
            loss needs a separate pass (earlier turns, truncated answers).

    Raises:
        DataError: there is nothing to evaluate, or a row cannot be scored (both found before any
            forward pass); or a scorer fails on an answer.
        ConfigError: an answer pattern is not a regular expression, a scorer is missing, or code
            must not be run.
    """
    if split.frame.empty or not tasks:
        msg = "there are no test rows to evaluate on; add tasks with rows under `test`"
        raise DataError(msg)
    causal = cast("PreTrainedModel", model)  # a model with adapters is called like its base
    asking = Asking((), tokens_per_batch, generation or GenerationConfig(), seed, thought_markers)
    plan = plan_tasks(
        split,
        tokenizer,
        tasks,
        max_positions=max_positions(causal.config),
        code_limits=code_limits,
        vocabulary=vocabulary_size(causal.config),
        markers=asking.markers,
    )
    rows = plan.rows
    with evaluation_mode(causal, tokenizer):
        results, losses = _forward(causal, tokenizer, plan, tasks, asking, report=on_progress)
    samples = [_samples(rows[name], name, results.get(name), losses[name]) for name in rows]
    scores = [
        _score(task, rows[task.task], results.get(task.task), losses[task.task]) for task in tasks
    ]
    return Evaluation(pd.DataFrame(scores), pd.concat(samples, ignore_index=True))


def _forward(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    plan: EvaluationPlan,
    tasks: Sequence[TestTask],
    asking: Asking,
    *,
    report: Progress,
) -> tuple[dict[str, TaskResult], dict[str, npt.NDArray[np.float64]]]:
    """Ask the rows, then compute the answer losses that did not come with the answers."""
    rows = plan.rows
    everything = [row for group in rows.values() for row in group]
    answered = [task for task in tasks if METRICS[task.metric].asks != "nothing"]
    asked = [row for task in answered for row in rows[task.task]]
    brought = {row.row_id for row in asked if row.scored_anyway}
    remaining = [row for row in everything if row.row_id not in brought]
    requests = sum(max(1, len(row.choices)) for row in asked)
    progress = _Steps(report, requests + len(remaining))
    results: dict[str, TaskResult] = {}
    if answered:
        results = run_tasks(
            model,
            tokenizer,
            answered,
            rows,
            asking=replace(
                asking, stop_ids=stop_tokens(asked, tokenizer, _configured_stops(model))
            ),
            on_progress=progress.step,
            judges=plan.judges,
        )
    separate = answer_losses(
        model,
        [row.example for row in remaining],
        tokens_per_batch=asking.tokens_per_batch,
        on_progress=progress.step,
    )
    known = {row.row_id: loss for row, loss in zip(remaining, separate, strict=True)}
    for name, result in results.items():
        for row, scored in zip(rows[name], result.references, strict=True):
            n_tokens = scored.n_tokens or math.nan  # a row without a reference has no loss
            known.setdefault(row.row_id, -scored.log_likelihood / n_tokens)
    losses = {name: np.array([known[row.row_id] for row in group]) for name, group in rows.items()}
    return results, losses


class _Steps:
    """Combines the progress of several passes."""

    def __init__(self, report: Progress, total: int) -> None:
        self._report = report
        self._total = total
        self._before = 0

    def step(self, done: int, total: int) -> None:
        """Report the progress of the current pass; its last report ends it."""
        self._report(self._before + done, self._total)
        if done == total:
            self._before += total


def stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Return the end-of-answer token ids given by the model and the tokenizer."""
    return stop_tokens([], tokenizer, _configured_stops(model))


def _configured_stops(model: PreTrainedModel) -> list[int]:
    config = getattr(model, "generation_config", None)
    stops = None if config is None else config.eos_token_id
    if stops is None:
        return []
    return [int(stops)] if isinstance(stops, int) else [int(stop) for stop in stops]


def _samples(
    rows: Sequence[EvaluationRow],
    name: str,
    result: TaskResult | None,
    losses: npt.NDArray[np.float64],
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "row_id": [row.row_id for row in rows],
            "task": name,
            "prompt": [shortened(row.prompt_text) for row in rows],
            "reference": [row.reference for row in rows],
            "prediction": result.predictions if result else None,
            "generation": result.generations if result else None,
            "score": result.row_scores if result else np.nan,
            "correct": pd.array(
                [None if math.isnan(score) else score == 1.0 for score in result.row_scores]
                if result
                else [None] * len(rows),
                "boolean",
            ),
            "answer_loss": losses,
        }
    )


def shortened(text: str) -> str:
    """Shorten a prompt as for the samples."""
    return text if len(text) <= _PROMPT_SHOWN else f"{text[:_PROMPT_SHOWN]}..."


def _score(
    task: TestTask,
    rows: Sequence[EvaluationRow],
    result: TaskResult | None,
    losses: npt.NDArray[np.float64],
) -> dict[str, Any]:
    known = losses[~np.isnan(losses)]
    several = len(known) > 1  # a single row has no standard error
    references = [row.reference for row in rows]
    judged = [score for score in result.row_scores if not math.isnan(score)] if result else []
    return {
        "task": task.task,
        "capability": task.capability,
        "metric": task.metric,
        "n": len(judged) or len(rows),
        "score": result.score if result else np.nan,
        "stderr": result.stderr if result else np.nan,
        "majority": majority_score(references) if result and all(references) else np.nan,
        "answer_loss": float(known.mean()) if len(known) else np.nan,
        "answer_loss_stderr": float(known.std(ddof=1) / len(known) ** 0.5) if several else np.nan,
        "more": json.dumps(result.more) if result and result.more else None,
    }


@contextlib.contextmanager
def evaluation_mode(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Iterator[None]:
    """Turn dropout off, and restore afterwards what lm-eval's model (suites) may change."""
    was_training = {module for module in model.modules() if module.training}
    padding_side, pad_token = tokenizer.padding_side, tokenizer.pad_token
    model.eval()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for module in was_training:
            module.training = True
        tokenizer.padding_side = padding_side
        if tokenizer.pad_token != pad_token:
            tokenizer.pad_token = pad_token


def macro_average(scores: pd.DataFrame) -> dict[str, float]:
    """Average task scores with equal weights.

    Args:
        scores: frame with columns capability, metric and score, one row per task.

    Returns:
        ``task``: mean over tasks (the papers' macro average); ``capability``: mean over tasks
            within each capability, then over capabilities. Tasks with only an answer loss are left
            out; NaN if no task has a score, or a score is missing.
    """
    scored = scores[scores["metric"] != ANSWER_LOSS]
    if scored["score"].isna().any():  # an average over the others would be a different measure
        return {"task": math.nan, "capability": math.nan}
    by_capability = scored.groupby("capability")["score"].mean()
    return {"task": float(scored["score"].mean()), "capability": float(by_capability.mean())}
