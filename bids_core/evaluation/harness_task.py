"""A task of lm-eval whose documents are our rows.

This module imports lm-eval (3.4 s); import it where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.task import Task, TaskConfig

from bids_core.evaluation.answers import compile_pattern, extract_answer
from bids_core.evaluation.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bids_core.config import TestTask
    from bids_core.evaluation.judges import Judge
    from bids_core.evaluation.rows import EvaluationRow

Documents = list[dict[str, Any]]


def instruction_share(rows: Sequence[Sequence[bool]]) -> float:
    """Return the share of instructions followed, over the instructions of all rows."""
    return float(np.mean([followed for row in rows for followed in row]))


IFEVAL_METRICS: Final = {
    "prompt_level_strict_acc": mean,
    "inst_level_strict_acc": instruction_share,
    "prompt_level_loose_acc": mean,
    "inst_level_loose_acc": instruction_share,
}
"""IFEval's metrics (the main one first), and how rows add up to them."""


class RowTask(Task):  # type: ignore[misc]  # lm-eval is untyped
    """One test task: its documents are our rows.

    Args:
        task: name, metric and answer pattern.
        rows: the documents.
        judge: what scores a generation; None for multiple choice.
    """

    VERSION = 1

    def __init__(
        self, task: TestTask, rows: Sequence[EvaluationRow], judge: Judge | None = None
    ) -> None:
        is_choice = METRICS[task.metric].asks == "choice"
        self.OUTPUT_TYPE = "multiple_choice" if is_choice else "generate_until"
        self.metric = METRICS[task.metric].main
        self._metrics = list(IFEVAL_METRICS) if task.metric == "ifeval" else [self.metric]
        self._rows = rows
        self._judge = judge
        self._pattern = compile_pattern(task)
        self._documents = [_document(index, row) for index, row in enumerate(rows)]
        super().__init__()
        self._config = TaskConfig(
            task=task.task,
            output_type=self.OUTPUT_TYPE,
            num_fewshot=0,
            generation_kwargs=None
            if is_choice
            else {
                "until": list(task.stop),
                "max_gen_toks": task.max_new_tokens,
                "do_sample": False,
            },
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

    def process_results(self, doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:
        """Score one row."""
        if self._judge is not None:
            return self._judge(self._rows[doc["index"]], results[0])
        return {self.metric: float(self.predicted(doc, results) == doc["reference"])}

    def predicted(self, doc: Mapping[str, Any], results: Sequence[Any]) -> str | None:
        """Return the answer that the model gave; None where the pattern matches nothing."""
        if self.OUTPUT_TYPE == "generate_until":
            return extract_answer(results[0], self._pattern)
        best = int(np.argmax([log_likelihood for log_likelihood, _ in results]))
        return str(doc["choices"][best])

    def aggregation(self) -> dict[str, Any]:
        """Return how row scores become a task score."""
        return {name: IFEVAL_METRICS.get(name, mean) for name in self._metrics}

    def higher_is_better(self) -> dict[str, bool]:
        """Say that a higher score is better."""
        return dict.fromkeys(self._metrics, True)


def _document(index: int, row: EvaluationRow) -> dict[str, Any]:
    return {
        "index": index,
        "row_id": row.row_id,
        "prompt": row.prompt_text,
        "reference": row.reference,
        "choices": list(row.choices),
    }
