"""lm-eval around our rows and our model: its task, its model, its evaluator.

lm-eval keeps the books (requests, filters, metrics, aggregation, standard errors, samples). What it
is given: a task whose documents are our rows, and its Hugging Face model with the two forward
passes replaced by ours, which read each row's own token ids and batch by tokens instead of rows.

This module imports lm-eval (3.4 s); import it where it is used.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import datasets.config
import huggingface_hub.constants
import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.task import Task, TaskConfig
from lm_eval.evaluator import evaluate as run_harness
from lm_eval.models.huggingface import HFLM

from bids_core.evaluation.answers import compile_pattern, extract_answer
from bids_core.evaluation.generation import generate
from bids_core.evaluation.likelihood import log_likelihoods

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bids_core.config import TestTask
    from bids_core.evaluation.rows import EvaluationRow
    from bids_core.progress import Progress

Documents = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What lm-eval found for one task; the lists have one entry a row, in the rows' order.

    Args:
        score: mean of the row scores.
        stderr: its standard error; NaN for a single row.
        correct: whether the row was answered as the reference.
        predictions: the answer; None where the answer pattern matched nothing.
        generations: the whole generated text; None for multiple choice.
    """

    score: float
    stderr: float
    correct: list[bool]
    predictions: list[str | None]
    generations: list[str | None]


class RowTask(Task):  # type: ignore[misc]  # lm-eval is untyped
    """One test task: its documents are our rows.

    Args:
        task: name, metric and answer pattern.
        rows: the documents.
    """

    VERSION = 1

    def __init__(self, task: TestTask, rows: Sequence[EvaluationRow]) -> None:
        is_choice = task.metric == "multiple_choice"
        self.OUTPUT_TYPE = "multiple_choice" if is_choice else "generate_until"
        self.metric = "acc" if is_choice else "exact_match"
        self._pattern = compile_pattern(task)
        self._documents = [_document(index, row) for index, row in enumerate(rows)]
        super().__init__()
        self._config = TaskConfig(
            task=task.task,
            output_type=self.OUTPUT_TYPE,
            num_fewshot=0,
            generation_kwargs=None
            if is_choice
            else {"until": [], "max_gen_toks": task.max_new_tokens, "do_sample": False},
        )

    def download(self, *_: object, **__: object) -> None:
        """Fetch nothing: the rows are here."""

    def has_training_docs(self) -> bool:
        """Say that there are no training documents."""
        return False

    def has_validation_docs(self) -> bool:
        """Say that there are no validation documents."""
        return False

    def has_test_docs(self) -> bool:
        """Say that there are test documents."""
        return True

    def test_docs(self) -> Documents:
        """Return the rows."""
        return self._documents

    def doc_to_text(self, doc: Mapping[str, Any]) -> str:
        """Return the prompt, with the chat template's markers."""
        return str(doc["prompt"])

    def doc_to_target(self, doc: Mapping[str, Any]) -> str:
        """Return the reference answer."""
        return str(doc["reference"])

    def build_all_requests(self, *, limit: int | None = None, **_: object) -> None:
        """Make the requests (without lm-eval's progress bar)."""
        documents = self.test_docs()[:limit]
        nested = [self.construct_requests(doc, index) for index, doc in enumerate(documents)]
        self._instances = [request for requests in nested for request in requests]

    def construct_requests(self, doc: Mapping[str, Any], index: int) -> list[Instance]:
        """Make the requests of one row: one generation, or one log-likelihood a choice."""
        metadata = (self.config.task, index, 1)
        prompt = self.doc_to_text(doc)
        if self.OUTPUT_TYPE == "generate_until":
            arguments = [(prompt, dict(self.config.generation_kwargs))]
            kind = "generate_until"
        else:
            arguments = [(prompt, choice) for choice in doc["choices"]]
            kind = "loglikelihood"
        return [
            Instance(request_type=kind, doc=doc, arguments=pair, idx=position, metadata=metadata)
            for position, pair in enumerate(arguments)
        ]

    def process_results(self, doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, float]:
        """Score one row."""
        return {self.metric: float(self.predicted(doc, results) == doc["reference"])}

    def predicted(self, doc: Mapping[str, Any], results: Sequence[Any]) -> str | None:
        """Return the answer that the model gave; None where the pattern matches nothing."""
        if self.OUTPUT_TYPE == "generate_until":
            return extract_answer(results[0], self._pattern)
        best = int(np.argmax([log_likelihood for log_likelihood, _ in results]))
        return str(doc["choices"][best])

    def aggregation(self) -> dict[str, Any]:
        """Return how row scores become a task score."""
        return {self.metric: mean}

    def higher_is_better(self) -> dict[str, bool]:
        """Say that a higher score is better."""
        return {self.metric: True}


def _document(index: int, row: EvaluationRow) -> dict[str, Any]:
    return {
        "index": index,
        "row_id": row.row_id,
        "prompt": row.prompt_text,
        "reference": row.reference,
        "choices": list(row.choices),
    }


class RowModel(HFLM):  # type: ignore[misc]  # lm-eval is untyped
    """lm-eval's Hugging Face model, with forward passes over our rows' own token ids.

    Args:
        model: causal language model, with or without adapters, on its device.
        tokenizer: its tokenizer.
        rows: test rows of each task; a request says which one it is about.
        stop_ids: token ids that end an answer.
        tokens_per_batch: padded tokens of one forward pass.
        on_progress: called with (requests done, all).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        rows: Mapping[str, Sequence[EvaluationRow]],
        stop_ids: Sequence[int],
        tokens_per_batch: int,
        on_progress: Progress,
    ) -> None:
        super().__init__(pretrained=model, tokenizer=tokenizer, backend="causal")
        self._rows = rows
        self._stop_ids = stop_ids
        self._tokens_per_batch = tokens_per_batch
        self._on_progress = on_progress

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[tuple[float, bool]]:
        """Score each choice after its prompt."""
        del disable_tqdm
        scored = log_likelihoods(
            self.model,
            [self._row(request).choice_examples[request.idx] for request in requests],
            tokens_per_batch=self._tokens_per_batch,
            on_progress=self._on_progress,
        )
        return [(row.log_likelihood, row.is_greedy) for row in scored]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Answer each prompt greedily."""
        del disable_tqdm
        by_limit: dict[int, list[int]] = {}
        for index, request in enumerate(requests):
            by_limit.setdefault(int(request.args[1]["max_gen_toks"]), []).append(index)
        texts: dict[int, str] = {}
        for limit, indices in by_limit.items():
            answered = len(texts)
            tokens = generate(
                self.model,
                [self._row(requests[index]).prompt for index in indices],
                max_new_tokens=limit,
                stop_ids=self._stop_ids,
                tokens_per_batch=self._tokens_per_batch,
                on_progress=lambda done, _, before=answered: self._on_progress(
                    before + done, len(requests)
                ),
            )
            for index, answer in zip(indices, tokens, strict=True):
                text = self.tokenizer.decode(answer, skip_special_tokens=True)
                texts[index] = text.lstrip().removeprefix(self._row(requests[index]).opening)
        return [texts[index] for index in range(len(requests))]

    def _row(self, request: Instance) -> EvaluationRow:
        row: EvaluationRow = self._rows[request.task_name][request.doc["index"]]
        return row


def run_tasks(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[TestTask],
    rows: Mapping[str, Sequence[EvaluationRow]],
    *,
    stop_ids: Sequence[int],
    tokens_per_batch: int,
    on_progress: Progress,
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

    Returns:
        The result of each task, by name.
    """
    with offline_and_quiet():
        row_tasks = {task.task: RowTask(task, rows[task.task]) for task in tasks}
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
    return {name: _result(task, results) for name, task in row_tasks.items()}


def _result(task: RowTask, results: Mapping[str, Any]) -> TaskResult:
    name, metric = task.config.task, task.metric
    found = results["results"][name]
    samples = sorted(results["samples"][name], key=lambda sample: sample["doc_id"])
    answers = [sample["filtered_resps"] for sample in samples]
    stderr = found[f"{metric}_stderr,none"]
    return TaskResult(
        score=float(found[f"{metric},none"]),
        stderr=float("nan") if stderr == "N/A" else float(stderr),  # N/A for a single row
        correct=[sample[metric] == 1.0 for sample in samples],
        predictions=[
            task.predicted(sample["doc"], answer)
            for sample, answer in zip(samples, answers, strict=True)
        ],
        generations=[
            answer[0] if task.OUTPUT_TYPE == "generate_until" else None for answer in answers
        ],
    )


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
    log.setLevel(logging.ERROR)
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        log.setLevel(level)
        huggingface_hub.constants.HF_HUB_OFFLINE = hub
        datasets.config.HF_HUB_OFFLINE = data
