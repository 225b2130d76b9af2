"""The table of metrics for test tasks: what the model is asked for, and how answers are judged.

A metric is an entry in `METRICS` and, if it judges answers, the function that makes its judge. A
judge takes a row and an answer and returns named values; `Metric.main` names the one that is the
row's score, from 0 to 1. A new metric is added here, and nowhere else. This file imports nothing
heavy, because the configuration reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from bids_core.errors import ConfigError, DataError
from bids_core.registry import Entry, Registry

if TYPE_CHECKING:
    from bids_core.config import TestTask
    from bids_core.sandbox import Limits


class JudgedRow(Protocol):
    """What a judge sees of a test row (an `EvaluationRow`)."""

    @property
    def location(self) -> str:
        """``file:line``."""

    @property
    def row_id(self) -> str:
        """Its id."""

    @property
    def reference(self) -> str:
        """The reference answer; empty if there is none."""

    @property
    def fields(self) -> dict[str, Any]:
        """The row as it is in the file."""


Judge: TypeAlias = "Callable[[JudgedRow, str], dict[str, Any]]"
MakeJudge: TypeAlias = "Callable[[TestTask, Sequence[JudgedRow], Limits | None], Judge]"


@dataclass(frozen=True, kw_only=True)
class Metric(Entry):
    """One metric.

    Args:
        asks: what the model is asked for: an answer, the most likely of the row's choices, or
            nothing (only the loss of the reference answer is computed).
        judge: makes the judge of a task's answers, after trying it on its rows; None unless `asks`
            is an answer.
        main: the judge's value that is the row's score, under lm-eval's name.
        needs: requirements, in words.
        needs_reference: whether a row without a reference answer cannot be scored.
        scorer: whether the task must name a scorer function.
        identity: what else determines the score, besides the task's settings and the row: versions
            of checkers.
    """

    asks: Literal["answer", "choice", "nothing"] = "answer"
    judge: MakeJudge | None = None
    main: str = ""
    needs: str = "a reference answer"
    needs_reference: bool = True
    scorer: bool = False
    identity: Callable[[], dict[str, Any]] = dict


def metric_label(name: str) -> str:
    """Return a metric's display name, for our own or lm-eval's name."""
    if name in METRICS:
        return METRICS[name].label
    ours = {metric.main: metric.label for metric in METRICS.values() if metric.asks == "answer"}
    return _SUITES.get(name) or ours.get(name, name)


def _compare(task: TestTask, _rows: Sequence[JudgedRow], _limits: Limits | None) -> Judge:
    from bids_core.evaluation.answers import compile_pattern, extract_answer

    pattern = compile_pattern(task)
    return lambda row, answer: {
        "exact_match": float(extract_answer(answer, pattern) == row.reference)
    }


def _ask_scorer(task: TestTask, rows: Sequence[JudgedRow], _limits: Limits | None) -> Judge:
    from bids_core.evaluation.scorers import load_scorer, try_scorer

    scorer, first = load_scorer(task), rows[0]
    try_scorer(
        scorer, reference=first.reference, fields=first.fields, row=_named(first), task=task.task
    )
    return lambda row, answer: {"score": scorer.score(answer, row.fields, row=_named(row))}


def _run_tests(task: TestTask, rows: Sequence[JudgedRow], limits: Limits | None) -> Judge:
    from bids_core.sandbox import require_sandbox, run_program, solution_program

    if limits is None:
        msg = (
            f"test task {task.task!r}: metric {task.metric} runs programs written by the "
            "model; set evaluation.run_generated_code: true (they run in a sandbox), or "
            "remove the task"
        )
        raise ConfigError(msg)
    require_sandbox()
    _check_rows(task, rows, lambda row: solution_program("", row.fields))
    return lambda row, answer: {
        "pass@1": float(run_program(solution_program(answer, row.fields), limits=limits).passed)
    }


def _check_instructions(task: TestTask, rows: Sequence[JudgedRow], _limits: Limits | None) -> Judge:
    from bids_core.evaluation.ifeval import check_row, checkers, follows

    checkers()
    _check_rows(task, rows, lambda row: check_row(row.fields))
    return lambda row, answer: follows(row.fields, answer)


def _check_rows(
    task: TestTask, rows: Sequence[JudgedRow], check: Callable[[JudgedRow], object]
) -> None:
    for row in rows:
        try:
            check(row)
        except DataError as error:
            msg = f"{row.location}: test task {task.task!r}: {error}"
            raise DataError(msg) from error


def _named(row: JudgedRow) -> str:
    return f"{row.location}: row {row.row_id!r}"


METRICS: Final = Registry(
    "metric",
    (
        Metric(
            name="exact_match",
            what="the answer, or the last match of `answer_pattern` in it, equals the reference's",
            judge=_compare,
            main="exact_match",
        ),
        Metric(
            name="multiple_choice",
            what="the most likely choice, including the end of turn, is the reference",
            asks="choice",
            main="acc",
            needs="`mapping.choices`",
        ),
        Metric(
            name="generation",
            what="what `scorer` says",
            label="scorer",
            judge=_ask_scorer,
            main="score",
            needs="a scorer",
            needs_reference=False,
            scorer=True,
        ),
        Metric(
            name="code",
            what="the row's tests pass (pass@1, greedy)",
            label="tests passed",
            judge=_run_tests,
            main="pass@1",
            needs="`evaluation.run_generated_code: true`",
            needs_reference=False,
        ),
        Metric(
            name="ifeval",
            what="all of the row's instructions are followed (lm-eval's prompt-level strict "
            "accuracy)",
            label="instructions followed",
            judge=_check_instructions,
            main="prompt_level_strict_acc",
            needs="extra `ifeval`",
            needs_reference=False,
            identity=lambda: {"lm_eval": version("lm-eval")},
        ),
        Metric(
            name="answer_loss",
            what="nothing; only the loss of the reference is reported",
            label="answer loss",
            asks="nothing",
        ),
    ),
)
"""Metrics by the names that users type."""

_SUITES: Final = {
    "acc": "accuracy",
    "f1": "F1",
    "math_verify": "math-verify",
    "pass_at_1": "tests passed",
}
"""Display names of suite metrics that differ from ours, by lm-eval's names."""
