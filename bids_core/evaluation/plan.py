"""Checks before a model is loaded for evaluation: rows, judges, the sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bids_core.evaluation.judges import make_judge
from bids_core.evaluation.metrics import METRICS
from bids_core.evaluation.rows import rows_of_task
from bids_core.evaluation.thoughts import MARKERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from bids_core.config import TestTask
    from bids_core.data import Split
    from bids_core.evaluation.judges import Judge
    from bids_core.evaluation.rows import EvaluationRow
    from bids_core.sandbox import Limits


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """The rows and judges of the tasks to evaluate.

    Args:
        rows: test rows of each task.
        judges: judge of each generative task.
    """

    rows: dict[str, list[EvaluationRow]]
    judges: dict[str, Judge]


def plan_tasks(
    split: Split,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[TestTask],
    *,
    max_positions: int | None,
    code_limits: Limits | None,
    vocabulary: int | None = None,
    markers: Sequence[tuple[str, str]] = MARKERS,
) -> EvaluationPlan:
    """Make the rows, import and try the scorers, and build the sandbox; see `evaluate`.

    Raises:
        DataError: a row cannot be scored, or a scorer fails on the first reference answer.
        ConfigError: an answer pattern is not a regular expression, a scorer is missing, or code
            must not be run.
    """
    rows = {
        task.task: rows_of_task(
            split,
            task,
            tokenizer,
            max_positions=max_positions,
            vocabulary=vocabulary,
            markers=markers,
        )
        for task in tasks
    }
    judges = {
        task.task: make_judge(task, rows[task.task], code_limits=code_limits)
        for task in tasks
        if METRICS[task.metric].asks == "answer"
    }
    return EvaluationPlan(rows, judges)
