"""The numbers of the influence section: AID and THI of the pool (before) and selections (after).

Shapes: N training rows, M validation instances, U usable columns (those with spread).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bids_core.diagnostics import aid_imbalance, task_highest_influence
from bids_core.diagnostics.influence import aid_tables
from bids_core.formatting import number
from bids_core.report.figures import SMALL, Panel, instance_panels
from bids_core.report.grids import Grid, GridLine, Title
from bids_core.report.names import method_looks, series_looks
from bids_core.report.picks import share_cell
from bids_core.report.section import Section
from bids_core.report.svg import legend_mark, responsive
from bids_core.selection.names import POOL, method_label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    import pandas as pd
    from markupsafe import Markup

    from bids_core.report.inputs import ReportInputs

_MOST_BARS: Final = 320
"""Most bars in a panel; beyond this, neighbours within a task are averaged."""
_MOST_SMALL: Final = 100
"""The same, on a phone."""


@dataclass(frozen=True, slots=True)
class Distributions:
    """AID of the pool and of each selection.

    Args:
        raw: set -> [M], on raw influence.
        normalised: set -> [U], on influence z-scored per column over the pool.
        usable: [U], the columns that have spread.
        tables: set -> its table (`bids_core.diagnostics.aid_table`).
    """

    raw: Mapping[str, npt.NDArray[np.float64]]
    normalised: Mapping[str, npt.NDArray[np.float64]]
    usable: npt.NDArray[np.int64]
    tables: Mapping[str, pd.DataFrame]


def influence_section(inputs: ReportInputs) -> dict[str, Any]:
    """Return what the influence section shows."""
    sets = _sets(inputs)
    found = distributions(inputs, sets)
    tasks = list(inputs.tasks)
    left_out = [i for i in range(len(tasks)) if i not in set(found.usable.tolist())]
    return {
        "legend": [
            {"label": task, "mark": legend_mark(look)} for task, look in series_looks(tasks).items()
        ],
        "raw": _figure(inputs, found.raw, np.arange(len(tasks)), "AID, raw influence"),
        "normalised": _figure(
            inputs,
            {name: values for name, values in found.normalised.items() if name != POOL},
            found.usable,
            "AID, z-scored influence",
        )
        if inputs.selections
        else None,
        "balance": _balance(inputs, found.tables) if inputs.selections else None,
        "binned": len(tasks) > _MOST_BARS,
        "left_out": [inputs.validation_ids[column] for column in left_out],
        "frequencies": _frequencies(inputs, sets),
    }


def _sets(inputs: ReportInputs) -> dict[str, npt.NDArray[np.int64] | None]:
    """Return the row indices of each set; None is the whole pool."""
    place = {row_id: index for index, row_id in enumerate(inputs.row_ids)}
    sets: dict[str, npt.NDArray[np.int64] | None] = {POOL: None}
    for method, picks in inputs.selections.items():
        sets[method] = np.array([place[row_id] for row_id in picks["row_id"]], dtype=np.int64)
    return sets


def distributions(
    inputs: ReportInputs, sets: Mapping[str, npt.NDArray[np.int64] | None]
) -> Distributions:
    """Compute the AID of each set, on raw influence and on influence z-scored over the pool."""
    tables = aid_tables(inputs.attribution, sets, tasks=inputs.tasks, normalization="zscore")
    usable = np.flatnonzero(next(iter(tables.values()))["normalized_aid"].notna())
    return Distributions(
        raw={name: table["aid"].to_numpy() for name, table in tables.items()},
        normalised={
            name: table["normalized_aid"].to_numpy()[usable] for name, table in tables.items()
        },
        usable=usable,
        tables=tables,
    )


def _figure(
    inputs: ReportInputs,
    sets: Mapping[str, npt.NDArray[np.float64]],
    columns: npt.NDArray[np.int64],
    axis: str,
) -> Markup:
    tasks = [inputs.tasks[column] for column in columns]
    ids = [inputs.validation_ids[column] for column in columns]
    looks = series_looks(inputs.tasks)

    def draw(width: float) -> Markup:
        groups = _groups(tasks, _MOST_SMALL if width < SMALL else _MOST_BARS)
        return instance_panels(
            [
                Panel(_set_label(name), np.array([values[group].mean() for group in groups]))
                for name, values in sets.items()
            ],
            tasks=[tasks[group[0]] for group in groups],
            looks=looks,
            instances=[
                ids[group[0]] if len(group) == 1 else f"{ids[group[0]]} and {len(group) - 1} more"
                for group in groups
            ],
            label=f"{axis}, of each validation instance, by task",
            axis=axis,
            width=width,
        )

    return responsive(draw)


def _groups(tasks: Sequence[str], most: int) -> list[npt.NDArray[np.int64]]:
    """Return the columns of each bar: one, or with many instances neighbours within a task."""
    size = -(-len(tasks) // most)
    groups = []
    for task in dict.fromkeys(tasks):
        columns = np.flatnonzero(np.array(tasks, dtype=object) == task)
        groups += np.array_split(columns, -(-len(columns) // size))
    return groups


def _set_label(name: str) -> str:
    return "Pool (before)" if name == POOL else f"{method_label(name)} selection (after)"


def _balance(inputs: ReportInputs, tables: Mapping[str, pd.DataFrame]) -> Grid:
    looks = method_looks(inputs.selections)
    lines, tasks = [], []
    for name, table in tables.items():
        if name == POOL:
            continue
        means = table.groupby("task", sort=False)["normalized_aid"].mean().dropna()
        tasks = list(means.index)
        values = [float(means.mean()), aid_imbalance(table), *map(float, means)]
        cells = [{"value": number(value, 2), "error": "", "best": False} for value in values]
        lines.append(GridLine(Title(method_label(name), mark=legend_mark(looks[name])), cells))
    return Grid(
        caption="Mean normalised AID of each task's instances.",
        corner="Selection",
        columns=[Title("Mean"), Title("Difference"), *(Title(str(task)) for task in tasks)],
        lines=lines,
    )


def _frequencies(
    inputs: ReportInputs, sets: Mapping[str, npt.NDArray[np.int64] | None]
) -> list[Grid]:
    """Return THI in its two forms, one line of shares per set."""
    names = list(dict.fromkeys(inputs.tasks))
    if len(names) < 2:
        return []  # with a single task, every row's highest influence is on it
    tables = []
    for by, title in (("task_mean", "by task mean"), ("instance", "by single instance")):
        lines = []
        for name, rows in sets.items():
            counts = task_highest_influence(inputs.attribution, inputs.tasks, indices=rows, by=by)
            total = int(counts.sum())
            cells = [
                share_cell(int(counts.get(task, 0)) / total, int(counts.get(task, 0)), 0)
                for task in names
            ]
            label = "Pool" if name == POOL else method_label(name)
            lines.append(GridLine(Title(label, f"{total:,} examples"), cells))
        tables.append(
            Grid(
                caption=f"THI {title}: share and number of examples.",
                corner="Set",
                columns=[Title(task) for task in names],
                lines=lines,
            )
        )
    return tables


SECTION: Final = Section("influence", "Influence", 30, influence_section)
