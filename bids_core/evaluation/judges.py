"""How a generated answer is judged: by comparison, a scorer, the row's tests, or its instructions.

A judge takes a row and an answer and returns lm-eval's metrics of that row; the first one is the
row's score, from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from bids_core.errors import ConfigError, DataError
from bids_core.evaluation.answers import compile_pattern, extract_answer
from bids_core.evaluation.scorers import load_scorer, try_scorer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.config import TestTask
    from bids_core.evaluation.rows import EvaluationRow
    from bids_core.sandbox import Limits

Judge: TypeAlias = "Callable[[EvaluationRow, str], dict[str, Any]]"
MAIN_METRIC: Final = {
    "exact_match": "exact_match",
    "multiple_choice": "acc",
    "generation": "score",
    "code": "pass@1",
    "ifeval": "prompt_level_strict_acc",
}
"""Metric of a task in the configuration -> name of its main metric in lm-eval."""


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
        SandboxError: code can not be run safely here.
    """
    if task.metric == "generation":
        return _scorer_judge(task, rows)
    if task.metric == "code":
        return _code_judge(task, rows, code_limits)
    if task.metric == "ifeval":
        return _ifeval_judge(task, rows)
    pattern = compile_pattern(task)
    return lambda row, answer: {
        "exact_match": float(extract_answer(answer, pattern) == row.reference)
    }


def _scorer_judge(task: TestTask, rows: Sequence[EvaluationRow]) -> Judge:
    scorer, first = load_scorer(task), rows[0]
    try_scorer(
        scorer, reference=first.reference, fields=first.fields, row=_named(first), task=task.task
    )
    return lambda row, answer: {"score": scorer.score(answer, row.fields, row=_named(row))}


def _code_judge(task: TestTask, rows: Sequence[EvaluationRow], limits: Limits | None) -> Judge:
    from bids_core.sandbox import require_sandbox, run_program, solution_program

    if limits is None:
        msg = (
            f"test task {task.task!r}: metric code runs programs that the model wrote; set "
            "evaluation.run_generated_code: true (they run in a sandbox), or remove the task"
        )
        raise ConfigError(msg)
    require_sandbox()
    _check_rows(task, rows, lambda row: solution_program("", row.fields))
    return lambda row, answer: {
        "pass@1": float(run_program(solution_program(answer, row.fields), limits=limits).passed)
    }


def _ifeval_judge(task: TestTask, rows: Sequence[EvaluationRow]) -> Judge:
    from bids_core.evaluation.ifeval import check_row, checkers, follows

    checkers()
    _check_rows(task, rows, lambda row: check_row(row.fields))
    return lambda row, answer: follows(row.fields, answer)


def _check_rows(
    task: TestTask, rows: Sequence[EvaluationRow], check: Callable[[EvaluationRow], object]
) -> None:
    for row in rows:
        try:
            check(row)
        except DataError as error:
            msg = f"{row.location}: test task {task.task!r}: {error}"
            raise DataError(msg) from error


def _named(row: EvaluationRow) -> str:
    return f"{row.location}: row {row.row_id!r}"
