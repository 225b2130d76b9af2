"""The numbers of the section on rows that were not picked, and why.

Shapes: N training rows, M validation instances.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bids_core.diagnostics.audit import near_misses
from bids_core.diagnostics.coverage import coverage
from bids_core.errors import BidsError
from bids_core.formatting import number
from bids_core.influence.matrix import as_matrix
from bids_core.influence.normalization import ColumnWarning
from bids_core.report.names import series_looks
from bids_core.report.section import Section
from bids_core.report.svg import legend_mark
from bids_core.report.texts import conversation
from bids_core.selection import select
from bids_core.selection.names import method_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from bids_core.influence.matrix import Matrix
    from bids_core.report.inputs import ReportInputs

    Ints = npt.NDArray[np.int64]

_SHOWN: Final = 10
"""Rows listed for each kind."""
_ITERATIVE: Final = "bids"
"""The method whose next picks are known: its picks are nested, and their utilities comparable."""
_OTHER: Final = "less"


def missed_section(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return what the section shows; None if every row was picked, or none."""
    if not inputs.selections:
        return None
    picks = inputs.selections[inputs.main_method]
    if len(picks) >= len(inputs.row_ids):
        return None
    place = {row_id: row for row, row_id in enumerate(inputs.row_ids)}
    chosen = np.array([place[str(row_id)] for row_id in picks["row_id"]], dtype=np.int64)
    matrix = as_matrix(
        inputs.attribution, row_ids=inputs.row_ids, validation_ids=inputs.validation_ids
    )
    normalization = str(inputs.config.get("selection", {}).get("normalization", "zscore"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ColumnWarning)  # reported by the selection
        near = _near(inputs, matrix, chosen, normalization)
        theirs, total = _theirs(inputs, matrix, chosen, place)
        lists = {
            name: coverage(matrix, chosen, rows, normalization=normalization)
            for name, rows in (("near", near), ("less", theirs))
            if len(rows)
        }
    tables = {name: _lines(inputs, table.to_dict("records")) for name, table in lists.items()}
    if not tables:
        return None
    values = picks["utility"].to_numpy(dtype=np.float64)
    return {
        "method": method_label(inputs.main_method),
        "total": f"{len(inputs.row_ids) - len(picks):,}",
        "last": number(float(values[-1])) if inputs.main_method == _ITERATIVE else "",
        "near": tables.get("near", []),
        "less": tables.get("less", []),
        "less_total": f"{total:,}",
        "picked": f"{len(picks):,}",
        "other": method_label(_OTHER),
    }


def _near(inputs: ReportInputs, matrix: Matrix, chosen: Ints, normalization: str) -> Ints:
    """Return the rows that would be picked next, in order."""
    if inputs.main_method != _ITERATIVE:
        return np.empty(0, dtype=np.int64)
    found = near_misses(matrix, len(chosen), normalization=normalization, near=_SHOWN)
    rows = found["row"].to_numpy(dtype=np.int64)
    return rows[~np.isin(rows, chosen)]


def _theirs(
    inputs: ReportInputs, matrix: Matrix, chosen: Ints, place: dict[str, int]
) -> tuple[Ints, int]:
    """Return the first rows that LESS picks and the main method does not, and how many there are.

    If LESS is not among the run's methods, it is run here on the same matrix.
    """
    if inputs.main_method == _OTHER:
        return np.empty(0, dtype=np.int64), 0
    if _OTHER in inputs.selections:
        ids = inputs.selections[_OTHER]["row_id"]
        rows = np.array([place[str(row_id)] for row_id in ids], dtype=np.int64)
    else:
        try:
            rows = select(matrix, len(chosen), method=_OTHER, tasks=list(inputs.tasks)).indices
        except BidsError:  # a matrix without tasks
            return np.empty(0, dtype=np.int64), 0
    only = rows[~np.isin(rows, chosen)]
    return only[:_SHOWN], len(only)


def _lines(inputs: ReportInputs, records: Sequence[dict[Any, Any]]) -> list[dict[str, Any]]:
    looks = series_looks(inputs.tasks)
    lines = []
    for record in records:
        row, column, by = (int(record[name]) for name in ("row", "column", "covered_by"))
        row_id, cover = inputs.row_ids[row], inputs.row_ids[by]
        task = inputs.tasks[column]
        lines.append(
            {
                "row_id": row_id,
                "source": inputs.sources[row],
                "text": conversation(inputs.conversations.get(row_id)),
                "worth": number(float(record["worth"])),
                "instance": inputs.validation_ids[column],
                "task": task,
                "mark": legend_mark(looks[task]),
                "z": number(float(record["z"]), 2),
                "cover": cover,
                "cover_rank": f"{int(record['covered_rank']):,}",
                "cover_z": number(float(record["covered_z"]), 2),
                "cover_text": conversation(inputs.conversations.get(cover)),
            }
        )
    return lines


SECTION: Final = Section("missed", "Not picked", 45, missed_section)
