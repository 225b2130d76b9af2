"""The numbers of the scores section."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bids_core.comparison import judge
from bids_core.comparison.statistics import wilson_interval
from bids_core.evaluation import ANSWER_LOSS
from bids_core.evaluation.metrics import metric_label
from bids_core.formatting import number, percent
from bids_core.report.answers import answers_block
from bids_core.report.differences import difference_figure
from bids_core.report.figures import Dot, DotRow, dot_plot
from bids_core.report.grids import GridLine, Title, method_grid
from bids_core.report.names import method_looks
from bids_core.report.section import Section
from bids_core.report.svg import HALF, legend_mark, responsive
from bids_core.report.verdict import verdict_block
from bids_core.selection.names import ZERO_SHOT, method_label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bids_core.comparison import Comparison
    from bids_core.report.inputs import ReportInputs
    from bids_core.report.names import Look


def scores_section(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return what the scores section shows, or None if nothing was evaluated."""
    scores, comparison = inputs.scores, inputs.comparison
    if scores is None or scores.empty:
        return None
    if comparison is None:
        msg = "a report of scores needs the comparison of their test rows (`comparison`)"
        raise ValueError(msg)
    verdict = judge(comparison)
    arms = {str(arm["method"]): arm for arm in comparison.arms.to_dict(orient="records")}
    methods = _order(set(arms), inputs.main_method)
    looks = method_looks(methods)
    wanted = list(dict.fromkeys(scores[scores["metric"] != ANSWER_LOSS]["task"]))
    compared = set(comparison.tasks.dropna(subset=["score"])["task"])
    scored = [task for task in wanted if task in compared]
    losing = list(dict.fromkeys(scores.dropna(subset=["answer_loss"])["task"]))
    found = {(row.task, row.method): row for row in scores.itertuples(index=False)}
    cells = {task: [found.get((task, m)) for m in methods] for task in (*scored, *losing)}
    shown = [arms[m] for m in methods]
    leaders = _leaders(methods, shown) if scored else []
    return {
        "block": verdict_block(verdict),
        "differences": _differences(inputs.main_method, comparison, looks),
        "unjudged": [task for task in wanted if task not in compared],
        "legend": [{"label": method_label(m), "mark": legend_mark(looks[m])} for m in methods],
        "rows": [_row(cells[task], of="score") for task in scored],
        "losses": [_row(cells[task], of="loss") for task in losing],
        "macro": _macro(shown) if scored else [],
        "grid": _grid(methods, looks, [cells[t] for t in scored], shown) if scored else None,
        "loss_grid": _loss_grid(methods, looks, [cells[task] for task in losing], shown)
        if losing
        else None,
        "averages": _disagreement(leaders) if leaders else "",
        "agree": bool(leaders) and leaders[0] == leaders[1] and len(leaders[0]) == 1,
        "board": responsive(
            lambda width: dot_plot(
                [
                    DotRow(
                        "macro average",
                        [_board_dot(arms[m], looks) for m in methods],
                        mark=comparison.floor or None,
                    )
                ],
                label="Macro average of each method with its 95% interval",
                axis="macro average over tasks",
                width=width,
                named=True,
            ),
            wide=HALF,
        )
        if scored
        else None,
        "figure": responsive(
            lambda width: dot_plot(
                [_dot_row(task, cells[task], looks) for task in scored],
                label="Score of each method on each task, with 95% intervals",
                axis="test rows answered correctly",
                width=width,
            )
        )
        if scored
        else None,
        "answers": answers_block(inputs, scored),
    }


def _differences(
    main: str, comparison: Comparison, looks: Mapping[str, Look]
) -> dict[str, Any] | None:
    """Return the figure of the main method's differences in answer loss from the others."""
    figure = difference_figure(comparison, main, "loss", looks, wide=HALF)
    return None if figure is None else {"svg": figure, "main": method_label(main)}


def _order(methods: set[str], main: str) -> list[str]:
    """Put the base model first, then the main method, then the others by name."""
    rest = sorted(methods - {ZERO_SHOT, main})
    return [m for m in (ZERO_SHOT, main) if m in methods] + rest


def _grid(
    methods: Sequence[str],
    looks: Mapping[str, Look],
    tasks: Sequence[Sequence[Any]],
    arms: Sequence[Mapping[Any, Any]],
) -> Any:
    rows = [_row(cells, of="score") for cells in tasks]
    majorities = [{"value": row["majority"], "error": "", "best": False} for row in rows]
    known = [_majority(cells) for cells in tasks]
    mean = percent(sum(known) / len(known))
    over = [{"value": mean, "error": "", "best": False}, {"value": "", "error": "", "best": False}]
    return method_grid(
        methods,
        looks,
        caption="Share of test rows answered correctly; the best of each task is highlighted.",
        lines=[GridLine(_title(row, with_metric=True), row["cells"]) for row in rows],
        totals=[GridLine(Title(row["name"]), row["cells"]) for row in _macro(arms)],
        plain=GridLine(Title("most frequent answer"), [*majorities, *over]),
    )


def _loss_grid(
    methods: Sequence[str],
    looks: Mapping[str, Look],
    tasks: Sequence[Sequence[Any]],
    arms: Sequence[Mapping[Any, Any]],
) -> Any:
    rows = [_row(cells, of="loss") for cells in tasks]
    means = _best([float(arm["answer_loss"]) for arm in arms], of="loss")
    return method_grid(
        methods,
        looks,
        caption="Answer loss in nats; the lowest of each task is highlighted.",
        lines=[GridLine(_title(row), row["cells"]) for row in rows],
        totals=[GridLine(Title("Mean over tasks"), means)],
    )


def _title(row: Mapping[str, Any], *, with_metric: bool = False) -> Title:
    parts = [row["capability"], row["metric"] if with_metric else "", f"{row['n']:,} rows"]
    return Title(row["task"], ", ".join(part for part in parts if part))


def _row(cells: Sequence[Any], *, of: str) -> dict[str, Any]:
    first = next(cell for cell in cells if cell is not None)
    is_loss = of == "loss"
    values = [_value(cell, "answer_loss" if is_loss else "score") for cell in cells]
    errors = [_error(cell, is_loss=is_loss) for cell in cells]
    return {
        "task": first.task,
        "capability": first.capability,
        "metric": _metric(first.metric),
        "n": int(first.n),
        "majority": percent(_majority(cells)),
        "cells": [
            {**cell, "error": error}
            for cell, error in zip(_best(values, of=of), errors, strict=True)
        ],
    }


def _majority(cells: Sequence[Any]) -> float:
    return float(next(cell for cell in cells if cell is not None).majority)


def _metric(name: str) -> str:
    """Return a metric's display name; those of suites are lm-eval's `metric,filter`."""
    return metric_label(name.partition(",")[0])


def _value(cell: Any, name: str) -> float:  # itertuples' rows are untyped
    return float("nan") if cell is None else float(getattr(cell, name))


def _error(cell: Any, *, is_loss: bool) -> str:
    value = _value(cell, "answer_loss_stderr" if is_loss else "stderr")
    if value != value:
        return ""
    return number(value) if is_loss else f"{100 * value:.1f}"


def _macro(arms: Sequence[Mapping[Any, Any]]) -> list[dict[str, Any]]:
    intervals = [f"{100 * arm['low']:.1f} to {100 * arm['high']:.1f}" for arm in arms]
    by_task = _best([float(arm["macro"]) for arm in arms], of="score")
    by_capability = _best([float(arm["macro_capability"]) for arm in arms], of="score")
    return [
        {
            "name": "Average over tasks",
            "cells": [
                {**cell, "interval": ends} for cell, ends in zip(by_task, intervals, strict=True)
            ],
        },
        {"name": "Average over capabilities", "cells": by_capability},
    ]


def _best(values: Sequence[float], *, of: str) -> list[dict[str, Any]]:
    """Return cells, with the best marked if they differ."""
    known = [value for value in values if value == value]
    best = (min if of == "loss" else max)(known) if len(set(known)) > 1 else None
    show = number if of == "loss" else percent
    return [{"value": show(value), "error": "", "best": value == best} for value in values]


def _leaders(methods: Sequence[str], arms: Sequence[Mapping[Any, Any]]) -> list[set[str]]:
    """Return the methods that are best by the average over tasks, and over capabilities."""
    leaders = []
    for name in ("macro", "macro_capability"):
        values = [float(arm[name]) for arm in arms]
        leaders.append({m for m, v in zip(methods, values, strict=True) if v == max(values)})
    return leaders


def _disagreement(leaders: Sequence[set[str]]) -> str:
    """Return a note if the two averages disagree on which method is best."""
    if leaders[0] & leaders[1]:
        return ""
    first, second = (" and ".join(map(method_label, sorted(found))) for found in leaders)
    return (
        f"The averages disagree: {first} is highest by task and {second} by capability, "
        "because a capability with few tasks counts as much as one with many. The verdict "
        "goes by task."
    )


def _board_dot(arm: Mapping[Any, Any], looks: Mapping[str, Look]) -> Dot:
    interval = (float(arm["low"]), float(arm["high"]))
    return _dot(str(arm["method"]), float(arm["macro"]), interval, looks)


def _dot_row(task: str, cells: Sequence[Any], looks: Mapping[str, Look]) -> DotRow:
    known = [cell for cell in cells if cell is not None]
    dots = [
        _dot(c.method, float(c.score), wilson_interval(float(c.score), c.n), looks) for c in known
    ]
    majority = float(known[0].majority)
    return DotRow(task, dots, mark=None if majority != majority else majority)


def _dot(
    method: str, score: float, interval: tuple[float, float], looks: Mapping[str, Look]
) -> Dot:
    return Dot(method_label(method), score, interval, looks[method])


SECTION: Final = Section("scores", "Scores", 20, scores_section)
