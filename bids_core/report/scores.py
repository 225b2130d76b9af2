"""The numbers of the scores section."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bids_core.evaluation.metrics import metric_label
from bids_core.formatting import number, percent
from bids_core.report.figures import Dot, DotRow, dot_plot
from bids_core.report.headline import (
    Z95,
    Standing,
    sentences,
    standings,
    wilson_interval,
    with_score,
)
from bids_core.report.names import method_colour
from bids_core.selection.names import ZERO_SHOT, method_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bids_core.report.inputs import ReportInputs


def scores_section(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return what the scores section shows, or None where nothing was evaluated."""
    scores = inputs.scores
    if scores is None or scores.empty:
        return None
    ranking = standings(scores)
    found_sentences = sentences(scores, inputs.main_method)
    methods = _order({standing.method for standing in ranking}, inputs.main_method)
    scored = list(dict.fromkeys(with_score(scores)["task"]))
    losing = list(dict.fromkeys(scores.dropna(subset=["answer_loss"])["task"]))
    found = {(row.task, row.method): row for row in scores.itertuples(index=False)}
    return {
        "verdict": found_sentences[0],
        "rest": " ".join(found_sentences[1:]),
        "columns": [
            {"label": method_label(m), "colour": method_colour(m), "hollow": m == ZERO_SHOT}
            for m in methods
        ],
        "rows": [_row([found.get((task, m)) for m in methods], of="score") for task in scored],
        "losses": [_row([found.get((task, m)) for m in methods], of="loss") for task in losing],
        "macro": _macro(ranking, methods) if scored else [],
        "macro_loss": _best_low(_pick(ranking, m).answer_loss for m in methods),
        "board": scored
        and dot_plot(
            [DotRow("macro average", [_board_dot(_pick(ranking, m)) for m in methods])],
            label="Macro average of each method with its 95% interval",
            axis="macro average over tasks",
        ),
        "figure": scored
        and dot_plot(
            [_dot_row(task, [found.get((task, m)) for m in methods]) for task in scored],
            label="Score of each method on each task, with 95% intervals",
            axis="score (share of test rows answered correctly)",
        ),
    }


def _order(methods: set[str], main: str) -> list[str]:
    """Put the base model first, then the main method, then the others by name."""
    rest = sorted(methods - {ZERO_SHOT, main})
    return [m for m in (ZERO_SHOT, main) if m in methods] + rest


def _pick(ranking: Sequence[Standing], method: str) -> Standing:
    return next(standing for standing in ranking if standing.method == method)


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


def _macro(ranking: Sequence[Standing], methods: Sequence[str]) -> list[dict[str, Any]]:
    chosen = [_pick(ranking, method) for method in methods]
    errors = [f"{100 * s.stderr:.1f}" for s in chosen]
    return [
        {
            "name": "Macro average over tasks",
            "cells": _best_high([s.by_task for s in chosen], errors),
        },
        {
            "name": "Macro average over capabilities",
            "cells": _best_high([s.by_capability for s in chosen], [""] * len(chosen)),
        },
    ]


def _best_high(values: Sequence[float], errors: Sequence[str]) -> list[dict[str, Any]]:
    best = max(values) if len(set(values)) > 1 else None
    return [
        {"value": percent(value), "error": error, "best": value == best}
        for value, error in zip(values, errors, strict=True)
    ]


def _best_low(values: Iterable[float]) -> list[dict[str, Any]]:
    listed = list(values)
    best = min(listed) if len(set(listed)) > 1 else None
    return [{"value": number(value), "error": "", "best": value == best} for value in listed]


def _board_dot(standing: Standing) -> Dot:
    margin = Z95 * standing.stderr
    interval = (max(0.0, standing.by_task - margin), min(1.0, standing.by_task + margin))
    return _dot(standing.method, standing.by_task, interval)


def _dot_row(task: str, cells: Sequence[Any]) -> DotRow:
    known = [cell for cell in cells if cell is not None]
    dots = [_dot(c.method, float(c.score), wilson_interval(float(c.score), c.n)) for c in known]
    majority = float(known[0].majority)
    return DotRow(task, dots, mark=None if majority != majority else majority)


def _dot(method: str, score: float, interval: tuple[float, float]) -> Dot:
    colour = method_colour(method)
    return Dot(method_label(method), score, interval, colour, hollow=method == ZERO_SHOT)
