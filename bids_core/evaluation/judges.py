"""The judge of a task's answers, from the table of metrics (`metrics`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_core.evaluation.metrics import METRICS, Judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.config import TestTask
    from bids_core.evaluation.rows import EvaluationRow
    from bids_core.sandbox import Limits

__all__ = ["Judge", "make_judge"]


def make_judge(
    task: TestTask, rows: Sequence[EvaluationRow], *, code_limits: Limits | None
) -> Judge:
    """Return the judge of a task that generates, tried out on the task's rows.

    Args:
        task: its metric and what goes with it.
        rows: its rows.
        code_limits: what a generated program may use; None: generated code is not run.

    Raises:
        ConfigError: the scorer, or a package that the judge needs, is not there; or code may not be
            run.
        DataError: the scorer fails on the first reference answer, or a row lacks what it is judged
            by.
        SandboxError: code cannot be run safely here.
    """
    make = METRICS[task.metric].judge
    if make is None:
        msg = f"metric {task.metric} judges no answers"
        raise ValueError(msg)
    return make(task, rows, code_limits)
