"""The numbers of the picks section: what was picked, in order, and which instance won each pick."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bids_core.diagnostics.breakdown import POOL
from bids_core.formatting import number, percent
from bids_core.report.browse import browse_block
from bids_core.report.figure_lines import Line, line_chart
from bids_core.report.figure_shares import stacked_shares
from bids_core.report.grids import Grid, GridLine, Title
from bids_core.report.names import method_looks, series_looks
from bids_core.report.section import Section
from bids_core.report.svg import legend_mark, responsive
from bids_core.report.texts import text_or_none
from bids_core.selection.names import method_label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from bids_core.report.inputs import ReportInputs
    from bids_core.report.names import Look

_SOURCES: Final = 8
"""Sources with their own area in the figure; the rest are drawn together."""
_REST: Final = "other sources"
_LISTED: Final = 20
"""Sources listed in the table before the rest is collapsed."""


def picks_section(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return what the picks section shows; None if nothing was picked."""
    if not inputs.selections:
        return None
    picks = inputs.selections[inputs.main_method]
    others = [method for method in inputs.selections if method != inputs.main_method]
    by_task = {method: _by_task(inputs, inputs.selections[method]) for method in others}
    return {
        "method": method_label(inputs.main_method),
        "total": len(picks),
        "by_task": _by_task(inputs, picks),
        "others_by_task": [
            {"label": method_label(method), "figure": found["figure"]}
            for method, found in by_task.items()
            if found
        ],
        "utility": _utility(inputs, picks),
        "by_source": _by_source(inputs, picks),
        "sources": _source_grids(inputs),
        "breakdowns": breakdowns(inputs),
        "agreement": _agreement(inputs),
        "browse": browse_block(inputs),
    }


def _by_task(inputs: ReportInputs, picks: pd.DataFrame) -> dict[str, Any] | None:
    names = [text_or_none(name) for name in picks["winning_task"]]
    order = list(dict.fromkeys(inputs.tasks))
    if not set(names) <= set(order):
        return None  # none, or from other tasks
    return _shares_figure(
        [name for name in names if name],
        series_looks(order),
        label="Share of the first picks won by each task's instances",
    )


def _by_source(inputs: ReportInputs, picks: pd.DataFrame) -> dict[str, Any] | None:
    frequent = [name for name, _ in Counter(picks["source"].astype(str)).most_common()]
    if len(set(inputs.sources)) < 2:
        return None
    own = frequent if len(frequent) <= _SOURCES else frequent[: _SOURCES - 1]
    names = [name if name in own else _REST for name in picks["source"].astype(str)]
    order = own if len(own) == len(frequent) else [*own, _REST]
    return _shares_figure(
        names,
        series_looks(order),
        label="Share of the first picks from each source",
    )


def _shares_figure(
    names: Sequence[str], looks: Mapping[str, Look], *, label: str
) -> dict[str, Any]:
    return {
        "legend": [{"label": n, "mark": legend_mark(look)} for n, look in looks.items()],
        "figure": responsive(
            lambda width: stacked_shares(
                names,
                looks=looks,
                order=list(looks),
                label=label,
                axis="number of picks",
                width=width,
            )
        ),
    }


def _utility(inputs: ReportInputs, picks: pd.DataFrame) -> dict[str, Any] | None:
    """Return the utility along the picks, and how often it rises."""
    values = picks["utility"].to_numpy(dtype=np.float64)
    if len(values) < 2 or not np.isfinite(values).all() or not values.any():
        return None
    look = method_looks([inputs.main_method])[inputs.main_method]
    points = [(float(rank), float(value)) for rank, value in enumerate(values, start=1)]
    return {
        "figure": responsive(
            lambda width: line_chart(
                [Line(method_label(inputs.main_method), points, look)],
                label="Utility of each pick, in pick order",
                x_axis="pick",
                y_axis="utility of the pick",
                width=width,
            )
        ),
        "rises": f"{int((np.diff(values) > 1e-9).sum()):,}",
        "steps": f"{len(values) - 1:,}",
        "does_rise": bool((np.diff(values) > 1e-9).any()),
        "iterative": inputs.main_method == "bids",
    }


def _source_grids(inputs: ReportInputs) -> dict[str, Any]:
    """Return each source's share of the pool and of each selection, by the main method's lift."""
    methods = list(inputs.selections)
    pool = Counter(inputs.sources)
    picked = {m: Counter(inputs.selections[m]["source"].astype(str)) for m in methods}
    totals = {method: sum(counts.values()) for method, counts in picked.items()}

    def lift(source: str) -> float:
        own = picked[inputs.main_method][source] / (totals[inputs.main_method] or 1)
        return own * len(inputs.sources) / pool[source]

    order = sorted(pool, key=lambda source: (-lift(source), -pool[source], source))
    lines = [
        GridLine(
            Title(source),
            [
                _share(pool[source], len(inputs.sources)),
                {"value": number(lift(source), 2), "error": "", "best": False},
                *(_share(picked[m][source], totals[m]) for m in methods),
            ],
        )
        for source in order
    ]
    columns = [Title("pool"), Title("lift"), *(Title(method_label(m)) for m in methods)]
    caption = (
        "Sources: share and number of examples, in the pool and in each selection. Lift is "
        f"the share of {method_label(inputs.main_method)}'s picks divided by the share of the "
        "pool."
    )
    shown, folded = lines[:_LISTED], lines[_LISTED:]
    return {
        "grid": Grid(caption=caption, corner="Source", columns=columns, lines=shown),
        "rest": Grid(caption="The other sources.", corner="Source", columns=columns, lines=folded)
        if folded
        else None,
        "shown": len(shown),
        "folded": len(folded),
    }


def breakdowns(inputs: ReportInputs) -> list[Grid]:
    """Return each further column's values with their share of the pool and of each selection."""
    if inputs.breakdown is None:
        return []
    methods = list(inputs.selections)
    tables = []
    for column, lines in inputs.breakdown.groupby("column", sort=False):
        rows = [
            GridLine(Title(str(value)), [_counted(cells, key) for key in (POOL, *methods)])
            for value, cells in lines.groupby("value", sort=False)
        ]
        titles = [Title("pool"), *(Title(method_label(method)) for method in methods)]
        caption = f"{column}: share and number of examples, in the pool and in each selection."
        tables.append(Grid(caption=caption, corner=str(column), columns=titles, lines=rows))
    return tables


def _counted(cells: pd.DataFrame, key: str) -> dict[str, Any]:
    cell = cells[cells["set"] == key].iloc[0]
    return share_cell(float(cell["share"]), int(cell["count"]))


def _share(count: int, total: int) -> dict[str, Any]:
    return share_cell(count / total if total else 0.0, count)


def share_cell(share: float, count: int, digits: int = 1) -> dict[str, Any]:
    """Return a cell of a grid that shows a share as a bar, and a count."""
    return {"value": percent(share, digits), "share": share, "count": count, "best": False}


def _agreement(inputs: ReportInputs) -> Grid | None:
    """Return how many picks each pair of selections shares; None if there is only one selection."""
    sets = {m: set(frame["row_id"]) for m, frame in inputs.selections.items()}
    if len(sets) < 2:
        return None
    lines = [
        GridLine(
            Title(method_label(first), f"{len(own):,} picks"),
            [
                {"value": "\N{EN DASH}", "error": "", "best": False}
                if first == second
                else share_cell(len(own & theirs) / (len(own) or 1), len(own & theirs))
                for second, theirs in sets.items()
            ],
        )
        for first, own in sets.items()
    ]
    main = sets[inputs.main_method]
    chance = percent(len(main) / len(inputs.row_ids))
    caption = (
        "Picks in common: the share of a line's picks that the column's method picks too "
        f"(chance: {chance})."
    )
    return Grid(
        caption=caption,
        corner="Of the picks of",
        columns=[Title(method_label(method)) for method in sets],
        lines=lines,
    )


SECTION: Final = Section("picks", "Picks", 40, picks_section)
