"""Makes the judge of a task's answers, from the table of metrics (`metrics`)."""

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
    """Return the judge of a generative task, after trying it on the task's rows.

    Args:
        task: the task, with its metric and the metric's settings.
        rows: its rows.
        code_limits: resource limits of generated programs; None if generated code must not be run.

    Raises:
        ConfigError: the scorer or a required package is missing, or code must not be run.
        DataError: the scorer fails on the first reference answer, or a row lacks a field needed to
            judge it.
        SandboxError: code cannot be run safely on this machine.
    """
    make = METRICS[task.metric].judge
    if make is None:
        msg = f"metric {task.metric} judges no answers"
        raise ValueError(msg)
    return make(task, rows, code_limits)
