"""The numbers of the influence section: AID and THI before (pool) and after (each selection).

Shapes: N training rows, M validation instances, U usable columns (those with spread).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from bids_core.diagnostics import average_influence_distribution, task_highest_influence
from bids_core.diagnostics.influence import mean_difference
from bids_core.formatting import number, percent
from bids_core.influence.matrix import as_matrix
from bids_core.influence.normalization import ColumnWarning, prepare
from bids_core.report.figures import Panel, instance_panels
from bids_core.report.names import method_colour, series_colours
from bids_core.selection.names import POOL, method_label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

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
    """

    raw: Mapping[str, npt.NDArray[np.float64]]
    normalised: Mapping[str, npt.NDArray[np.float64]]
    usable: npt.NDArray[np.int64]


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
        "balance": _balance(found.normalised, usable_tasks),
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
    """Compute the AID of each set, raw and normalised.

    The z-score is affine, so the AID of z-scored influence is the z-scored AID.
    """
    with warnings.catch_warnings():  # the page names the columns that are left out
        warnings.simplefilter("ignore", ColumnWarning)
        _, scale = prepare(as_matrix(inputs.attribution), "zscore")
    usable = np.flatnonzero(scale.usable)
    raw = {
        name: np.asarray(average_influence_distribution(inputs.attribution, indices=rows))
        for name, rows in sets.items()
    }
    return Distributions(
        raw=raw,
        normalised={name: scale.apply(values)[usable] for name, values in raw.items()},
        usable=usable,
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


def task_means(values: npt.NDArray[np.float64], tasks: Sequence[str]) -> dict[str, float]:
    """Return the mean of the values of each task's instances."""
    return {
        str(k): float(v)
        for k, v in pd.Series(values).groupby(list(tasks), sort=False).mean().items()
    }


def _balance(
    normalised: Mapping[str, npt.NDArray[np.float64]], tasks: Sequence[str]
) -> list[dict[str, Any]]:
    means = {n: task_means(values, tasks) for n, values in normalised.items() if n != POOL}
    return [
        {
            "label": method_label(name),
            "colour": method_colour(name),
            "cells": [number(mean, 2) for mean in of_task.values()],
            "mean": number(float(np.mean(list(of_task.values()))), 2),
            "gap": number(mean_difference(list(of_task.values())), 2),
        }
        for name, of_task in means.items()
    ]


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
