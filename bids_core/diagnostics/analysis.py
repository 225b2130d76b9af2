"""The full analysis of a matrix and of selections from it, as tables.

Shapes: N training rows, M validation instances (columns), B picks.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_core.diagnostics.columns import column_histograms, column_shapes
from bids_core.diagnostics.influence import (
    aid_imbalance,
    aid_tables,
    highest_task,
    rows_of,
    task_highest_influence,
)
from bids_core.diagnostics.picks import along_picks, labels_at, near_duplicates, overlap
from bids_core.diagnostics.picks import utility_curve as curve_of
from bids_core.errors import MatrixError
from bids_core.influence.matrix import Matrix, MatrixLike
from bids_core.influence.normalization import ColumnWarning, prepare
from bids_core.selection import Selection
from bids_core.selection.arguments import checked_rows, opened
from bids_core.selection.request import checked_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bids_core.influence.files import LabelledMatrix
    from bids_core.picture import Picture
    from bids_core.selection.arguments import Names

POOL = "pool"
"""Name of the set that is the whole pool."""


@dataclass(frozen=True, repr=False)
class Analysis:
    """The results of an analysis: `.tables`, `.facts`, and `.plot()` for a figure.

    Args:
        facts: numbers and names: rows, columns, normalization, sets, imbalance (per set), left_out.
        tables: frames by name: aid_instances, aid_tasks, thi, columns, histograms, along_picks,
            utility, overlap, near_duplicates (only those that apply).
    """

    facts: dict[str, Any]
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)

    def to_dict(self, *, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return everything as JSON-serialisable values; NaN becomes None."""
        tables = {
            name: [_plain(line) for line in frame.to_dict("records")]
            for name, frame in self.tables.items()
            if name not in leave_out
        }
        return {**_plain(self.facts), "tables": tables}

    def write(self, folder: Path) -> None:
        """Write `analysis.json` (the facts) and one `<table>.parquet` per table."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(_plain(self.facts), indent=1, allow_nan=False)
        (folder / "analysis.json").write_text(text, encoding="utf-8")
        for name, frame in self.tables.items():
            frame.to_parquet(folder / f"{name}.parquet", index=False)

    def plot(self) -> Picture:
        """Plot the influence of the pool and of each selection on each task.

        Returns:
            A matplotlib figure, which notebooks display; `.savefig("influence.png")` saves it.

        Raises:
            UserError: matplotlib is not installed.
        """
        from bids_core.diagnostics.plot_analysis import plot_analysis

        return plot_analysis(self.tables, list(self.facts["sets"]))

    def __repr__(self) -> str:
        """Return one line that says what was analysed and which tables there are."""
        from bids_core.diagnostics.words import analysis_text

        return analysis_text(self.facts, self.tables)

    def _repr_html_(self) -> str:
        from bids_core.diagnostics.words import analysis_html

        return analysis_html(self.facts, self.tables)


def analyze(
    attribution: MatrixLike | LabelledMatrix | str | Path,
    selections: Selection | Mapping[str, Selection | npt.ArrayLike] | None = None,
    *,
    tasks: Names | None = None,
    capabilities: Names | None = None,
    sources: Names | None = None,
    texts: Sequence[str] | None = None,
    normalization: str = "zscore",
    row_ids: Sequence[str] | None = None,
    validation_ids: Sequence[str] | None = None,
) -> Analysis:
    """Analyse a pool and selections from it.

    Args:
        attribution: [N, M] influence: an array, a pandas frame, or the path of a matrix.
        selections: a selection (or row indices in pick order), or several by name.
        tasks: M task names, in any form that `bids_core.select` takes; default: those stored with
            the matrix or the selections; if there are none, all columns are one task, `all`.
        capabilities: M capability names, in the same forms.
        sources: N source names, in the same forms.
        texts: N texts, for finding near-duplicates among the picks.
        normalization: the one used for the selection.
        row_ids: N names of the rows, for the tables; default: those stored with the matrix.
        validation_ids: M names of the validation instances, likewise.

    Returns:
        Tables and facts; see `Analysis`.

    Raises:
        MatrixError: the matrix or another argument is invalid.
    """
    labelled = opened(attribution, row_ids, validation_ids)
    matrix = labelled.matrix
    named = _by_name(selections)
    for name, picks in named.items():
        checked_rows(_indices(picks), matrix.n_rows, name)
    known = [labelled.labels, *(p.labels for p in named.values() if isinstance(p, Selection))]
    if tasks is None:
        tasks = next((label.tasks for label in known if label and label.tasks), None)
    if sources is None:
        sources = next((label.sources for label in known if label and label.sources), None)
    if capabilities is None:
        capabilities = labelled.labels.capabilities
    if POOL in named:
        msg = f"a selection cannot be called {POOL!r}: that is the name of the whole pool"
        raise MatrixError(msg)
    columns, rows_of_pool = "validation instances", "training rows"
    per_task = checked_names(tasks, matrix.n_columns, "tasks", columns, matrix.validation_ids)
    per_task = per_task or ("all",) * matrix.n_columns
    areas = checked_names(
        capabilities, matrix.n_columns, "capabilities", columns, matrix.validation_ids
    )
    origins = checked_names(sources, matrix.n_rows, "sources", rows_of_pool, matrix.row_ids)
    contents = checked_names(texts, matrix.n_rows, "texts", "training rows")
    rows = {name: _indices(picks) for name, picks in named.items()}
    tables = _influence_tables(matrix, {POOL: None, **rows}, per_task, normalization)
    tables["columns"] = column_shapes(matrix, tasks=per_task)
    tables["histograms"] = column_histograms(matrix)
    if named:
        labels = _labels(matrix, named, per_task, areas, origins, normalization)
        tables["along_picks"] = _stacked(
            {
                (name, kind): along_picks(values)
                for name, kinds in labels.items()
                for kind, values in kinds.items()
            },
            ["set", "kind"],
        )
    curves = {
        (name,): curve_of(picks.utilities)
        for name, picks in named.items()
        if isinstance(picks, Selection) and picks.utilities.any()
    }
    if curves:
        tables["utility"] = _stacked(curves, ["set"])
    if len(rows) > 1:
        tables["overlap"] = overlap(rows)
    if contents is not None and rows:
        tables["near_duplicates"] = _stacked(
            {(name,): _duplicates(contents, picked) for name, picked in rows.items()}, ["set"]
        )
    return Analysis(_facts(matrix, tables, rows, normalization), tables)


def _by_name(
    selections: Selection | Mapping[str, Selection | npt.ArrayLike] | npt.ArrayLike | None,
) -> dict[str, Selection | npt.ArrayLike]:
    if selections is None:
        return {}
    if isinstance(selections, Selection):
        return {selections.method: selections}
    return dict(selections) if isinstance(selections, Mapping) else {"selection": selections}


def _indices(picks: Selection | npt.ArrayLike) -> npt.NDArray[np.int64]:
    return picks.indices if isinstance(picks, Selection) else np.asarray(picks)


def _influence_tables(
    matrix: Matrix,
    sets: Mapping[str, npt.NDArray[np.int64] | None],
    tasks: tuple[str, ...],
    normalization: str,
) -> dict[str, pd.DataFrame]:
    found = aid_tables(matrix, sets, tasks=tasks, normalization=normalization)
    instances, counts = {(name,): table for name, table in found.items()}, {}
    for name, rows in sets.items():
        counts[(name,)] = pd.DataFrame(
            {
                "by_task_mean": task_highest_influence(matrix, tasks, rows),
                "by_instance": task_highest_influence(matrix, tasks, rows, by="instance"),
            }
        ).reset_index()
    aid = _stacked(instances, ["set"])
    grouped = aid.groupby(["set", "task"], sort=False)
    by_task = grouped[["aid", "normalized_aid"]].mean()
    by_task.insert(0, "instances", grouped.size())
    return {
        "aid_instances": aid,
        "aid_tasks": by_task.reset_index(),
        "thi": _stacked(counts, ["set"]),
    }


def _labels(
    matrix: Matrix,
    selections: Mapping[str, Selection | npt.ArrayLike],
    tasks: tuple[str, ...],
    capabilities: tuple[str, ...] | None,
    sources: tuple[str, ...] | None,
    normalization: str,
) -> dict[str, dict[str, list[str | None]]]:
    """Return, for each selection, the labels of its picks: winning task and capability, source, ...

    `top_task` is the task on which the pick has its highest normalised mean influence, and
    `top_capability` is that task's capability; unlike the winning ones, they exist for every
    method.
    """
    area_of = dict(zip(tasks, capabilities or (), strict=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ColumnWarning)
        prepared, scale = prepare(matrix, normalization)
    usable = np.flatnonzero(scale.usable)
    kept = tuple(tasks[column] for column in usable)
    order = list(dict.fromkeys(kept))
    found: dict[str, dict[str, list[str | None]]] = {}
    for name, picks in selections.items():
        rows = _indices(picks)
        picked = scale.apply(rows_of(prepared, rows).values)
        top = highest_task(Matrix(np.take(picked, usable, axis=1)), kept)
        kinds: dict[str, list[str | None]] = {"top_task": [order[place] for place in top]}
        if area_of:
            kinds["top_capability"] = [area_of[order[place]] for place in top]
        if isinstance(picks, Selection) and (picks.winning_columns >= 0).any():
            winners = picks.winning_columns.tolist()
            kinds["winning_task"] = labels_at(tasks, winners)
            if capabilities is not None:
                kinds["winning_capability"] = labels_at(capabilities, winners)
        if sources is not None:
            kinds["source"] = labels_at(sources, rows.tolist())
        found[name] = kinds
    return found


def _duplicates(texts: Sequence[str], rows: npt.NDArray[np.int64]) -> pd.DataFrame:
    pairs = near_duplicates([texts[row] for row in rows.tolist()])
    for side in ("first", "second"):
        pairs[side] = rows[pairs[side].to_numpy(dtype=np.int64)]
    return pairs


def _stacked(frames: Mapping[Any, pd.DataFrame], names: list[str]) -> pd.DataFrame:
    """Concatenate frames vertically, with their keys as the first columns."""
    stacked: pd.DataFrame = pd.concat(dict(frames), names=names)
    return stacked.reset_index(level=names).reset_index(drop=True)


def _facts(
    matrix: Matrix,
    tables: Mapping[str, pd.DataFrame],
    rows: Mapping[str, npt.NDArray[np.int64]],
    normalization: str,
) -> dict[str, Any]:
    columns = tables["columns"]
    aid = tables["aid_instances"]
    return {
        "rows": matrix.n_rows,
        "columns": matrix.n_columns,
        "normalization": normalization,
        "sets": {POOL: matrix.n_rows, **{name: len(picked) for name, picked in rows.items()}},
        "imbalance": {
            name: aid_imbalance(part) for name, part in aid.groupby("set", sort=False)
        },
        "imbalance_raw": {
            name: aid_imbalance(part, value="aid") for name, part in aid.groupby("set", sort=False)
        },
        "left_out": columns.loc[columns["doubtful"] == "constant", "validation_id"].tolist(),
        "doubtful": columns.loc[
            ~columns["doubtful"].isin(["", "constant"]), "validation_id"
        ].tolist(),
    }  # fmt: skip


def _plain(value: Any) -> Any:
    """Return a value as JSON types; NaN and infinity become None."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
