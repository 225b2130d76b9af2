"""Selection: from an attribution matrix to the rows worth training on.

Shapes: N training rows, M validation instances (columns), B budget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bids_core.matrix import MatrixLike, as_matrix
from bids_core.normalization import NORMALIZATIONS, prepare
from bids_core.progress import silent
from bids_core.selection import scoring
from bids_core.selection.bids import pick_iteratively
from bids_core.selection.request import (
    Request,
    checked_names,
    resolve_budget,
    unknown,
)
from bids_core.selection.result import NO_COLUMN, Picks, Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bids_core.progress import Progress

__all__ = ["METHODS", "NO_COLUMN", "Selection", "resolve_budget", "select"]


def _bids(request: Request) -> Picks:
    matrix, scale = prepare(request.matrix, request.normalization)
    return pick_iteratively(matrix, scale, request.budget, progress=request.progress)


METHODS: Final[dict[str, Callable[[Request], Picks]]] = {
    "bids": _bids,
    "instance_max": scoring.instance_max,
    "less": scoring.less,
    "random": scoring.random,
    "full": scoring.full,
}
"""Methods by the names that users type."""

NORMALIZED: Final = frozenset({"bids", "instance_max"})
"""Methods that use `normalization`; the others are defined on raw influence."""


def select(
    attribution: MatrixLike,
    budget: int | float,
    *,
    method: str = "bids",
    normalization: str = "zscore",
    tasks: Iterable[str] | None = None,
    seed: int = 0,
    subtasks: Iterable[str] | None = None,
    sources: Iterable[str] | None = None,
    row_ids: Sequence[str] | None = None,
    validation_ids: Sequence[str] | None = None,
    progress: Progress = silent,
) -> Selection:
    """Select the rows worth training on.

    Args:
        attribution: [N, M] influence of training row i on validation instance j: numpy array,
            torch tensor, Zarr array (read in pieces if large) or pandas frame.
        budget: how many rows: a count (integer) or a fraction of N in (0, 1] (float).
        method: one of `METHODS`.
        normalization: one of `bids_core.normalization.NORMALIZATIONS`; used by `bids` and
            `instance_max`, the other methods are defined on raw influence.
        tasks: M task names of the validation instances, for methods that need them.
        seed: of random methods; the others are deterministic.
        subtasks: M subtask names, for `less`.
        sources: N source names of the rows, for methods that balance over sources.
        row_ids: N names of the rows, for messages.
        validation_ids: M names of the validation instances, for messages.
        progress: told how many picks are made.

    Returns:
        The selection, best first. Its first k picks are the selection at budget k.

    Raises:
        MatrixError: the matrix or something given with it can not be used; says what.

    Warns:
        ColumnWarning: validation instances that were left out, by name.

    Source: BIDS (arXiv 2501.12147); each method names its own.
    """
    if method not in METHODS:
        raise unknown("method", method, list(METHODS))
    if normalization not in NORMALIZATIONS:
        raise unknown("normalization", normalization, NORMALIZATIONS)
    matrix = as_matrix(attribution, row_ids=row_ids, validation_ids=validation_ids)
    request = Request(
        method=method,
        matrix=matrix,
        budget=resolve_budget(budget, matrix.n_rows),
        normalization=normalization,
        tasks=checked_names(tasks, matrix.n_columns, "tasks", "validation instances"),
        subtasks=checked_names(subtasks, matrix.n_columns, "subtasks", "validation instances"),
        sources=checked_names(sources, matrix.n_rows, "sources", "training rows"),
        seed=seed,
        progress=progress,
    )
    picks = METHODS[method](request)
    return Selection(
        indices=picks.rows,
        utilities=picks.utilities,
        winning_columns=picks.columns,
        method=method,
        normalization=normalization if method in NORMALIZED else "none",
        n_rows=matrix.n_rows,
        left_out=picks.left_out,
    )
