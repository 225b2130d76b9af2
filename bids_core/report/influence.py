"""The numbers of the influence section: AID and THI before (pool) and after (each selection).

Shapes: N training rows, M validation instances, U usable columns (those with spread).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bids_core.diagnostics import aid_imbalance, task_highest_influence
from bids_core.diagnostics.influence import aid_tables
from bids_core.formatting import number, percent
from bids_core.report.figures import Panel, instance_panels
from bids_core.report.names import method_colour, series_colours
from bids_core.report.section import Section
from bids_core.selection.names import POOL, method_label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    import pandas as pd

    from bids_core.report.inputs import ReportInputs

_MOST_BARS: Final = 320
"""Bars of one panel; above this, neighbours within a task are averaged."""
_ROWS_AT_A_TIME: Final = 8192


@dataclass(frozen=True, slots=True)
class Distributions:
    """AID of the pool and of each selection.

    Args:
        raw: set -> [M] on raw influence.
        normalised: set -> [U] on influence z-scored per column over the pool.
        usable: [U] which columns have spread.
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
    usable_tasks = [tasks[column] for column in found.usable]
    left_out = [i for i in range(len(tasks)) if i not in set(found.usable.tolist())]
    return {
        "legend": [
            {"label": task, "colour": colour} for task, colour in series_colours(tasks).items()
        ],
        "raw": _figure(inputs, found.raw, np.arange(len(tasks)), "AID, raw influence"),
        "normalised": _figure(
            inputs,
            {name: values for name, values in found.normalised.items() if name != POOL},
            found.usable,
            "AID, z-scored influence",
        ),
        "task_columns": list(dict.fromkeys(usable_tasks)),
        "balance": _balance(found.tables),
        "analysis": inputs.analysis,
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
) -> str:
    tasks = [inputs.tasks[column] for column in columns]
    ids = [inputs.validation_ids[column] for column in columns]
    groups = _groups(tasks)
    shown_ids = [
        ids[group[0]] if len(group) == 1 else f"{ids[group[0]]} and {len(group) - 1} more"
        for group in groups
    ]
    return instance_panels(
        [
            Panel(_set_label(name), np.array([values[group].mean() for group in groups]))
            for name, values in sets.items()
        ],
        tasks=[tasks[group[0]] for group in groups],
        colours=series_colours(inputs.tasks),
        instances=shown_ids,
        label=f"{axis}, of each validation instance, by task",
        axis=axis,
    )


def _groups(tasks: Sequence[str]) -> list[npt.NDArray[np.int64]]:
    """Return the columns of each bar: one, or (with many instances) neighbours within a task."""
    size = -(-len(tasks) // _MOST_BARS)
    groups = []
    for task in dict.fromkeys(tasks):
        columns = np.flatnonzero(np.array(tasks, dtype=object) == task)
        groups += np.array_split(columns, -(-len(columns) // size))
    return groups


def _set_label(name: str) -> str:
    return "Pool (before)" if name == POOL else f"{method_label(name)} selection (after)"


def _balance(tables: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    lines = []
    for name, table in tables.items():
        if name == POOL:
            continue
        means = table.groupby("task", sort=False)["normalized_aid"].mean().dropna()
        lines.append(
            {
                "label": method_label(name),
                "colour": method_colour(name),
                "cells": [number(float(mean), 2) for mean in means],
                "mean": number(float(means.mean()), 2),
                "gap": number(aid_imbalance(table), 2),
            }
        )
    return lines


def _frequencies(
    inputs: ReportInputs, sets: Mapping[str, npt.NDArray[np.int64] | None]
) -> list[dict[str, Any]]:
    """Return THI in its two forms, each set a row of shares."""
    tables = []
    for by, title in (
        ("task_mean", "by task mean"),
        ("instance", "by single instance"),
    ):
        counts = {
            name: task_highest_influence(inputs.attribution, inputs.tasks, indices=rows, by=by)
            for name, rows in sets.items()
        }
        names = list(dict.fromkeys(inputs.tasks))
        rows = []
        for name, series in counts.items():
            total = int(series.sum())
            cells = [
                {"share": float(series.get(task, 0)) / total, "count": int(series.get(task, 0))}
                for task in names
            ]
            rows.append(
                {
                    "label": "Pool" if name == POOL else method_label(name),
                    "n": total,
                    "cells": [{**cell, "text": percent(cell["share"], 0)} for cell in cells],
                }
            )
        tables.append({"title": title, "tasks": names, "rows": rows})
    return tables


SECTION: Final = Section("influence", "Influence", 30, influence_section)
