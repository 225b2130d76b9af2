"""lm-eval around our rows and our model.

lm-eval keeps the books (requests, filters, metrics, aggregation, standard errors, samples). What it
is given: a task whose documents are our rows (`harness_task`), and its Hugging Face model with the
two forward passes replaced by ours (`harness_model`), which read each row's own token ids and batch
by tokens instead of rows.

This module imports lm-eval (3.4 s); import it where it is used.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import datasets.config
import huggingface_hub.constants
import lm_eval.api.task
from lm_eval.evaluator import evaluate as run_harness

from bids_core.evaluation.harness_model import RowModel
from bids_core.evaluation.harness_task import RowTask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bids_core.config import TestTask
    from bids_core.evaluation.judges import Judge
    from bids_core.evaluation.likelihood import Scored
    from bids_core.evaluation.rows import EvaluationRow
    from bids_core.progress import Progress


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What lm-eval found for one task; the lists have one entry a row, in the rows' order.

    Args:
        score: mean of the row scores.
        stderr: its standard error; NaN for a single row.
        more: other metrics of the task, by lm-eval's names.
        row_scores: score of each row, from 0 to 1.
        predictions: the answer; None where the answer pattern matched nothing.
        generations: the whole generated text; None for multiple choice.
        references: score of the reference answer.
    """

    score: float
    stderr: float
    more: dict[str, float]
    row_scores: list[float]
    predictions: list[str | None]
    generations: list[str | None]
    references: list[Scored]


def run_tasks(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[TestTask],
    rows: Mapping[str, Sequence[EvaluationRow]],
    *,
    stop_ids: Sequence[int],
    tokens_per_batch: int,
    on_progress: Progress,
    judges: Mapping[str, Judge] | None = None,
) -> dict[str, TaskResult]:
    """Run lm-eval's evaluator over all tasks at once.

    Args:
        model: in evaluation mode, on its device.
        tokenizer: its tokenizer.
        tasks: what to score, and how.
        rows: test rows of each task.
        stop_ids: token ids that end an answer.
        tokens_per_batch: padded tokens of one forward pass.
        on_progress: called at the pace of each kind of request with (requests done, all).
        judges: what scores generations, by task; those without one are compared.

    Returns:
        The result of each task, by name.
    """
    with offline_and_quiet():
        row_tasks = {
            task.task: RowTask(task, rows[task.task], (judges or {}).get(task.task))
            for task in tasks
        }
        wrapped = RowModel(
            model,
            tokenizer,
            rows=rows,
            stop_ids=stop_ids,
            tokens_per_batch=tokens_per_batch,
            on_progress=on_progress,
        )
        results = run_harness(
            lm=wrapped,
            task_dict={"tasks": row_tasks, "groups": {}, "group_map": {}},
            bootstrap_iters=1,  # switches standard errors on; that of a mean needs no bootstrap
            log_samples=True,
        )
    return {name: _result(task, results, wrapped) for name, task in row_tasks.items()}


def _result(task: RowTask, results: Mapping[str, Any], model: RowModel) -> TaskResult:
    name, metric = task.config.task, task.metric
    found = results["results"][name]
    samples = sorted(results["samples"][name], key=lambda sample: sample["doc_id"])
    answers = [sample["filtered_resps"] for sample in samples]
    stderr = found[f"{metric}_stderr,none"]
    return TaskResult(
        score=float(found[f"{metric},none"]),
        stderr=float("nan") if stderr == "N/A" else float(stderr),  # N/A for a single row
        more={
            other: float(found[f"{other},none"]) for other in task.aggregation() if other != metric
        },
        row_scores=[float(sample[metric]) for sample in samples],
        predictions=[
            task.predicted(sample["doc"], answer)
            for sample, answer in zip(samples, answers, strict=True)
        ],
        generations=[
            answer[0] if task.OUTPUT_TYPE == "generate_until" else None for answer in answers
        ],
        references=[model.references[name, index] for index in range(len(samples))],
    )


def _no_bar(items: Iterable[Any], **_: object) -> Iterable[Any]:
    return items


@contextlib.contextmanager
def offline_and_quiet() -> Iterator[None]:
    """Keep lm-eval off the network, and its notes about itself off the screen.

    The libraries read `HF_HUB_OFFLINE` when they are imported, so the values that they then keep
    are set instead, and put back.
    """
    log = logging.getLogger("lm_eval")
    level = log.level
    hub = huggingface_hub.constants.HF_HUB_OFFLINE
    data = datasets.config.HF_HUB_OFFLINE
    bars = lm_eval.api.task.tqdm
    log.setLevel(logging.ERROR)
    lm_eval.api.task.tqdm = _no_bar
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        log.setLevel(level)
        lm_eval.api.task.tqdm = bars
        huggingface_hub.constants.HF_HUB_OFFLINE = hub
        datasets.config.HF_HUB_OFFLINE = data
