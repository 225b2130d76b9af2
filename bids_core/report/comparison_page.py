"""The page of a comparison: one self-contained HTML file, without scripts or network access."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from bids_core.comparison import judge, suite_table
from bids_core.comparison.results import RANDOM
from bids_core.comparison.statistics import LEVEL
from bids_core.formatting import number, percent
from bids_core.progress import duration
from bids_core.report.comparison_figures import Mark, Series, budget_lines
from bids_core.report.differences import WHAT, difference_figure
from bids_core.report.grids import MOST_ACROSS, Grid, GridLine, Title
from bids_core.report.names import PLAIN, method_looks
from bids_core.report.svg import legend_mark, responsive
from bids_core.report.templates import environment, style_sheet
from bids_core.report.verdict import verdict_block
from bids_core.selection.names import ZERO_SHOT, method_label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from bids_core.comparison import Comparison
    from bids_core.report.names import Look

_REFERENCES: Final = (ZERO_SHOT, "full")


@dataclass(frozen=True, kw_only=True)
class ComparisonInputs:
    """Everything that the page shows.

    Args:
        name: of the run.
        created: time of creation, ISO 8601.
        model: the model that was trained.
        n_pool: rows of the pool.
        comparison: tables and intervals.
        costs: one row per arm: method, n_rows, tokens, finetune_seconds, evaluation_seconds,
            selection_seconds (means over seeds), shared_seconds, peak_memory_bytes.
        failed: name of each cell that failed, and why.
        suites: tasks of each requested benchmark suite.
    """

    name: str
    created: str
    model: str
    n_pool: int
    comparison: Comparison
    costs: pd.DataFrame
    failed: Sequence[tuple[str, str]] = ()
    suites: Mapping[str, Sequence[str]] = field(default_factory=dict)


def build_comparison_page(inputs: ComparisonInputs) -> str:
    """Return the page as an HTML document. Text is escaped; no script may run."""
    templates = environment()
    comparison = inputs.comparison
    looks = _looks(comparison)
    page = templates.get_template("comparison.html.j2").render(
        inputs=inputs,
        style=Markup(style_sheet()),  # noqa: S704 - our own
        block=verdict_block(judge(comparison, failed=len(inputs.failed))),
        legend=[{"label": method_label(m), "mark": legend_mark(k)} for m, k in looks.items()],
        lines=_lines(comparison, looks),
        against_random=_forests(comparison, RANDOM, looks),
        against_main=_forests(comparison, comparison.main_method, looks),
        main=method_label(comparison.main_method),
        arms=[_arm(row) for row in comparison.arms.to_dict(orient="records")],
        differences=[_difference(row) for row in comparison.differences.to_dict(orient="records")],
        tasks=_tasks(comparison, looks),
        suites=_suites(inputs),
        costs=[_cost(row) for row in inputs.costs.to_dict(orient="records")],
    )
    return page + "\n"


def _looks(comparison: Comparison) -> dict[str, Look]:
    methods = [m for m in dict.fromkeys(comparison.arms["method"]) if m not in _REFERENCES]
    return method_looks(methods)


def _lines(comparison: Comparison, looks: Mapping[str, Look]) -> Markup | None:
    arms = comparison.arms
    if "macro" not in arms:
        return None
    rows = [row for row in arms.to_dict(orient="records") if row["macro"] == row["macro"]]
    marks = [
        (row["method"], row["n_rows"], Mark(method_label(row["method"]), row["macro"], row["low"],
                                            row["high"], looks.get(row["method"], PLAIN)))
        for row in rows
    ]  # fmt: skip
    series = [
        Series(method_label(method), look, [(n, mark) for name, n, mark in marks if name == method])
        for method, look in looks.items()
    ]
    references = [mark for name, _, mark in marks if name in _REFERENCES]
    if not any(one.points for one in series):
        return None
    return responsive(
        lambda width: budget_lines(
            series,
            references,
            label="Macro average of each method over the budgets, with 95% intervals",
            axis="macro average over tasks",
            width=width,
        )
    )


def _forests(
    comparison: Comparison, family: str, looks: Mapping[str, Look]
) -> list[dict[str, Any]]:
    """Return the figures of a family, one per measure that has data."""
    sides = {"score": "Right of zero", "loss": "Left of zero"}
    found = {of: difference_figure(comparison, family, of, looks) for of in sides}
    return [{"svg": svg, "side": sides[of], "what": WHAT[of]} for of, svg in found.items() if svg]


def _arm(row: Mapping[Any, Any]) -> dict[str, Any]:
    def known(key: str) -> float:
        return float(row.get(key, float("nan")))

    def count(key: str) -> str:
        return number(known(key), 0)

    return {
        "method": method_label(row["method"]),
        "n_rows": f"{row['n_rows']:,}" if row["n_rows"] else "\N{EN DASH}",
        "n_seeds": row["n_seeds"] or "\N{EN DASH}",
        "macro": percent(known("macro")),
        "interval": f"{percent(known('low'))} to {percent(known('high'))}",
        "capability": percent(known("macro_capability")),
        "seed_std": percent(known("seed_std")),
        "rank": number(known("average_rank"), 2),
        "wins": "\N{EN DASH}"
        if known("won") != known("won")
        else f"{count('won')} / {count('tied')} / {count('lost')}",
        "worst": row.get("worst_task", "") if known("spread") > 0 else "\N{EN DASH}",
        "worst_score": percent(known("worst_score")),
        "spread": percent(known("spread")),
        "least_gain": percent(known("least_gain")),
        "gain_spread": percent(known("gain_spread")),
        "loss": number(known("answer_loss")),
    }


def _difference(row: Mapping[Any, Any]) -> dict[str, Any]:
    in_points = row["of"] != "loss"
    shown = [
        number(100 * row[key], 1) if in_points else number(row[key])
        for key in ("value", "low", "high")
    ]
    what = {"score": "macro average, points", "capability": "average over capabilities, points",
            "loss": "answer loss, nats"}  # fmt: skip
    return {
        "method": method_label(row["method"]),
        "n_rows": f"{row['n_rows']:,}",
        "other": method_label(row["other"]),
        "what": what[row["of"]],
        "value": shown[0],
        "interval": f"{shown[1]} to {shown[2]}",
        "p": number(row["p_value"], 4),
        "holm": number(row["p_holm"], 4),
        "sure": row["p_holm"] < LEVEL,
    }


def _tasks(comparison: Comparison, looks: Mapping[str, Look]) -> dict[str, Any]:
    frame = comparison.tasks
    arms = list(dict.fromkeys(zip(frame["method"], frame["n_rows"], strict=True)))
    found = {(r["method"], r["n_rows"], r["task"]): r for r in frame.to_dict(orient="records")}
    names = list(dict.fromkeys(frame["task"]))
    cells = {task: _cells([found[(*arm, task)] for arm in arms]) for task in names}
    titles = {
        task: Title(task, f"{first['capability']}, {first['n']:,} rows")
        for task, first in ((task, found[(*arms[0], task)]) for task in names)
    }
    heads = [
        Title(
            method_label(method),
            f"{n:,} rows" if n else "",
            legend_mark(looks[method]) if method in looks else "",
        )
        for method, n in arms
    ]
    across = len(arms) <= MOST_ACROSS
    grid = Grid(
        caption="Mean score over seeds, the answer loss below it; the best of each task is "
        "highlighted, even where the lead may be chance.",
        corner="Task" if across else "Method",
        columns=heads if across else list(titles.values()),
        lines=[GridLine(titles[task], cells[task]) for task in names]
        if across
        else [GridLine(head, [cells[t][place] for t in names]) for place, head in enumerate(heads)],
    )
    return {"grid": grid, "unscored": bool(frame.groupby("task")["score"].count().eq(0).any())}


def _cells(found: Sequence[Mapping[Any, Any]]) -> list[dict[str, Any]]:
    """Return the cells of one task, one per arm; for a task without scores they show losses."""
    scored = any(cell["score"] == cell["score"] for cell in found)
    values = [cell["score"] if scored else -cell["answer_loss"] for cell in found]
    best = max(values) if len(set(values)) > 1 else None
    losses = [cell["answer_loss"] for cell in found]
    return [
        {
            "value": percent(value) if scored else number(-value),
            "error": "",
            "interval": number(loss, 2) if scored and loss == loss else "",
            "best": value == best,
        }
        for value, loss in zip(values, losses, strict=True)
    ]


def _suites(inputs: ComparisonInputs) -> list[dict[str, str]]:
    table = suite_table(inputs.comparison.tasks, inputs.suites)
    return [
        {
            "suite": row["suite"],
            "method": method_label(row["method"]),
            "n_rows": f"{row['n_rows']:,}" if row["n_rows"] else "\N{EN DASH}",
            "tasks": f"{row['n_tasks']} of {row['of']}",
            "macro": percent(row["macro"]),
            "capability": percent(row["macro_capability"]),
        }
        for row in table.to_dict(orient="records")
    ]


def _cost(row: Mapping[Any, Any]) -> dict[str, str]:
    def time(key: str) -> str:
        return duration(row[key]) if row[key] == row[key] else "\N{EN DASH}"

    memory = row["peak_memory_bytes"]
    return {
        "method": method_label(row["method"]),
        "n_rows": f"{row['n_rows']:,}" if row["n_rows"] else "\N{EN DASH}",
        "tokens": number(row["tokens"], 0),
        "shared": time("shared_seconds"),
        "selection": time("selection_seconds"),
        "finetune": time("finetune_seconds"),
        "evaluation": time("evaluation_seconds"),
        "memory": f"{memory / 2**30:.2f} GiB" if memory == memory else "\N{EN DASH}",
    }
