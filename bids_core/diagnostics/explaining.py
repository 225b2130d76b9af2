"""Explains why a row was picked, by its name, from Python.

Shapes: N training rows, M validation instances (columns).
"""

from __future__ import annotations

import difflib
import numbers
from dataclasses import replace
from typing import TYPE_CHECKING

from bids_core.diagnostics.explain import Explanation, explain_row
from bids_core.diagnostics.inferred import inferred_from
from bids_core.errors import MatrixError
from bids_core.selection.arguments import opened
from bids_core.selection.request import checked_names
from bids_core.selection.result import Pick, Selection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bids_core.influence.files import LabelledMatrix
    from bids_core.influence.matrix import MatrixLike
    from bids_core.selection.arguments import Names


def explain(
    attribution: MatrixLike | LabelledMatrix | str | Path,
    selection: Selection,
    row: int | str | Pick,
    *,
    tasks: Names | None = None,
    row_ids: Sequence[str] | None = None,
    validation_ids: Sequence[str] | None = None,
) -> Explanation:
    """Explain why a row was picked, or was not, and what would be picked instead.

    Args:
        attribution: [N, M] influence from which the selection was made: an array, a pandas frame,
            or the path of a matrix.
        selection: the result of `bids_core.select`.
        row: the row's index, its name, or a pick (`picks[0]`).
        tasks: M task names, in any form that `bids_core.select` takes; default: those stored with
            the selection.
        row_ids: N names of the rows; default: those stored with the matrix.
        validation_ids: M names of the validation instances; default: likewise.

    Returns:
        The explanation; print it, or display it in a notebook.

    Raises:
        MatrixError: there is no such row, or the selection was made from another matrix.
    """
    if not isinstance(selection, Selection):
        kind = type(selection).__name__
        msg = f"`selection` must be a Selection returned by bids_core.select, not a {kind}"
        raise MatrixError(msg)
    labelled = opened(attribution, row_ids, validation_ids)
    matrix, known = labelled.matrix, selection.labels
    if selection.n_rows != matrix.n_rows:
        msg = (
            f"the selection was made from {selection.n_rows} rows, but the matrix has "
            f"{matrix.n_rows}: pass the matrix it was made from"
        )
        raise MatrixError(msg)
    names = labelled.labels.tasks if known is None or known.tasks is None else known.tasks
    if tasks is not None:
        names = checked_names(
            tasks, matrix.n_columns, "tasks", "validation instances", matrix.validation_ids
        )
    place = _index(row, matrix.row_ids, matrix.n_rows)
    found = explain_row(
        matrix,
        selection,
        place,
        tasks=names,
        subtasks=labelled.labels.subtasks if known is None else known.subtasks,
        sources=labelled.labels.sources if known is None else known.sources,
        seed=selection.seed,
    )
    return replace(found, inferred=inferred_from(labelled, place))


def _index(row: int | str | Pick, row_ids: Sequence[str] | None, n_rows: int) -> int:
    if isinstance(row, Pick):
        return row.row
    if isinstance(row, numbers.Integral):
        return int(row)
    ids = [str(place) for place in range(n_rows)] if row_ids is None else list(map(str, row_ids))
    if row in ids:
        return ids.index(row)
    near = difflib.get_close_matches(str(row), ids, n=3)
    hint = f"; the nearest are {', '.join(near)}" if near else ""
    msg = f"the matrix has no row {row!r}{hint}"
    raise MatrixError(msg)
