"""The numbers of the scores section."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bids_core.comparison import judge
from bids_core.comparison.statistics import wilson_interval
from bids_core.evaluation import ANSWER_LOSS
from bids_core.evaluation.metrics import metric_label
from bids_core.formatting import number, percent
from bids_core.report.differences import difference_figure
from bids_core.report.figures import Dot, DotRow, dot_plot
from bids_core.report.names import method_colour
from bids_core.report.section import Section
from bids_core.report.verdict import verdict_block
from bids_core.selection.names import ZERO_SHOT, method_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bids_core.comparison import Comparison
    from bids_core.report.inputs import ReportInputs


def scores_section(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return what the scores section shows, or None where nothing was evaluated."""
    scores, comparison = inputs.scores, inputs.comparison
    if scores is None or scores.empty:
        return None
    if comparison is None:
        msg = "a report of scores needs the comparison of their test rows (`comparison`)"
        raise ValueError(msg)
    verdict = judge(comparison)
    arms = {str(arm["method"]): arm for arm in comparison.arms.to_dict(orient="records")}
    methods = _order(set(arms), inputs.main_method)
    wanted = list(dict.fromkeys(scores[scores["metric"] != ANSWER_LOSS]["task"]))
    compared = set(comparison.tasks.dropna(subset=["score"])["task"])
    scored = [task for task in wanted if task in compared]
    losing = list(dict.fromkeys(scores.dropna(subset=["answer_loss"])["task"]))
    found = {(row.task, row.method): row for row in scores.itertuples(index=False)}
    return {
        "block": verdict_block(verdict),
        "differences": _differences(inputs.main_method, comparison, methods),
        "unjudged": [task for task in wanted if task not in compared],
        "board_first": any(one.tells for one in verdict.findings if one.measure == "score"),
        "columns": [
            {"label": method_label(m), "colour": method_colour(m), "hollow": m == ZERO_SHOT}
            for m in methods
        ],
        "rows": [_row([found.get((task, m)) for m in methods], of="score") for task in scored],
        "losses": [_row([found.get((task, m)) for m in methods], of="loss") for task in losing],
        "macro": _macro([arms[m] for m in methods]) if scored else [],
        "macro_loss": _best_low(float(arms[m]["answer_loss"]) for m in methods),
        "board": scored
        and dot_plot(
            [
                DotRow(
                    "macro average",
                    [_board_dot(arms[m]) for m in methods],
                    mark=comparison.floor or None,
                )
            ],
            label="Macro average of each method with its 95% interval",
            axis="macro average over tasks",
        ),
        "floor": bool(scored and comparison.floor),
        "figure": scored
        and dot_plot(
            [_dot_row(task, [found.get((task, m)) for m in methods]) for task in scored],
            label="Score of each method on each task, with 95% intervals",
            axis="score (share of test rows answered correctly)",
        ),
    }


def _differences(
    main: str, comparison: Comparison, methods: Sequence[str]
) -> dict[str, Any] | None:
    """Return the figure of the main method's differences in answer loss to the others."""
    colours = {method: method_colour(method) for method in methods}
    figure = difference_figure(comparison, main, "loss", colours)
    return None if figure is None else {"svg": figure, "main": method_label(main)}


def _order(methods: set[str], main: str) -> list[str]:
    """Put the base model first, then the main method, then the others by name."""
    rest = sorted(methods - {ZERO_SHOT, main})
    return [m for m in (ZERO_SHOT, main) if m in methods] + rest


def _row(cells: Sequence[Any], *, of: str) -> dict[str, Any]:
    first = next(cell for cell in cells if cell is not None)
    is_loss = of == "loss"
    values = [_value(cell, "answer_loss" if is_loss else "score") for cell in cells]
    known = [value for value in values if value == value]
    best = (min if is_loss else max)(known) if len(set(known)) > 1 else None
    show = number if is_loss else percent
    return {
        "task": first.task,
        "capability": first.capability,
        "metric": _metric(first.metric),
        "n": int(first.n),
        "majority": percent(first.majority),
        "cells": [
            {
                "value": show(value),
                "error": _error(cell, is_loss=is_loss),
                "best": value == best,
            }
            for cell, value in zip(cells, values, strict=True)
        ],
    }


def _metric(name: str) -> str:
    """Return a metric for people; the suites' are lm-eval's `metric,filter`."""
    return metric_label(name.partition(",")[0])


def _value(cell: Any, name: str) -> float:  # a row of itertuples has no type
    return float("nan") if cell is None else float(getattr(cell, name))


def _error(cell: Any, *, is_loss: bool) -> str:
    value = _value(cell, "answer_loss_stderr" if is_loss else "stderr")
    if value != value:
        return ""
    return number(value) if is_loss else f"{100 * value:.1f}"


def _macro(arms: Sequence[Mapping[Any, Any]]) -> list[dict[str, Any]]:
    intervals = [f"{100 * arm['low']:.1f} to {100 * arm['high']:.1f}" for arm in arms]
    return [
        {
            "name": "Macro average over tasks",
            "cells": _best_high([float(arm["macro"]) for arm in arms], intervals),
        },
        {
            "name": "Macro average over capabilities",
            "cells": _best_high([float(arm["macro_capability"]) for arm in arms], [""] * len(arms)),
        },
    ]


def _best_high(values: Sequence[float], intervals: Sequence[str]) -> list[dict[str, Any]]:
    best = max(values) if len(set(values)) > 1 else None
    return [
        {"value": percent(value), "error": "", "interval": interval, "best": value == best}
        for value, interval in zip(values, intervals, strict=True)
    ]


def _best_low(values: Iterable[float]) -> list[dict[str, Any]]:
    listed = list(values)
    best = min(listed) if len(set(listed)) > 1 else None
    return [{"value": number(value), "error": "", "best": value == best} for value in listed]


def _board_dot(arm: Mapping[Any, Any]) -> Dot:
    return _dot(str(arm["method"]), float(arm["macro"]), (float(arm["low"]), float(arm["high"])))


def _dot_row(task: str, cells: Sequence[Any]) -> DotRow:
    known = [cell for cell in cells if cell is not None]
    dots = [_dot(c.method, float(c.score), wilson_interval(float(c.score), c.n)) for c in known]
    majority = float(known[0].majority)
    return DotRow(task, dots, mark=None if majority != majority else majority)


def _dot(method: str, score: float, interval: tuple[float, float]) -> Dot:
    colour = method_colour(method)
    return Dot(method_label(method), score, interval, colour, hollow=method == ZERO_SHOT)


SECTION: Final = Section("scores", "Scores", 20, scores_section)
