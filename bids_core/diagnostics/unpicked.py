"""A row that was not picked: its best instance, the picks that cover it, the budget it needs.

Shapes: N training rows, M validation instances (columns), B picks.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from bids_core.influence.normalization import ColumnWarning
from bids_core.selection import METHODS, Selection, select

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.influence.matrix import Matrix
    from bids_core.influence.normalization import ColumnScale

_COVERING: Final = 3
"""Number of picks named."""
_SEARCHED: Final = 4_000_000
"""Limit on picks times columns when searching for a row: a second or two."""


@dataclass(frozen=True)
class CoveringPick:
    """A pick that serves the instance for which a row would have been picked.

    Args:
        row_id: its name.
        rank: its rank among the picks, from 1.
        normalized: its normalised influence on that instance.
    """

    row_id: str
    rank: int
    normalized: float


def best_instance(
    prepared: Matrix, scale: ColumnScale, selection: Selection, row: int
) -> tuple[int, float] | None:
    """Return the column for which a row is worth most after the last pick, and its worth.

    For BIDS the worth is the largest z_ij - mean over the picks of z_kj; for other methods, the
    largest z_ij. None if no column is usable.
    """
    gain = scale.apply(prepared.take([row])[0])
    if selection.method == "bids":
        gain = gain - scale.apply(prepared.take(selection.indices)).mean(axis=0)
    gain = np.where(scale.usable, gain, -np.inf)
    column = int(gain.argmax())
    return (column, float(gain[column])) if scale.usable[column] else None


def covering_picks(
    prepared: Matrix, scale: ColumnScale, selection: Selection, column: int
) -> tuple[CoveringPick, ...]:
    """Return the picks with the highest normalised influence on a column, highest first."""
    z_B = scale.apply(prepared.take(selection.indices))[:, column]
    places = np.argsort(-z_B, kind="stable")[:_COVERING]
    ids = prepared.row_ids
    return tuple(
        CoveringPick(
            row_id=str(selection.indices[place] if ids is None else ids[selection.indices[place]]),
            rank=int(place) + 1,
            normalized=float(z_B[place]),
        )
        for place in places.tolist()
    )


def entering_budget(
    matrix: Matrix,
    selection: Selection,
    row: int,
    *,
    tasks: Sequence[str] | None,
    subtasks: Sequence[str] | None,
    sources: Sequence[str] | None,
    seed: int,
) -> tuple[int | None, int]:
    """Return the smallest budget at which a row is picked, and the largest budget tried.

    Picks are nested, so the row's rank in a longer selection is that budget. The selection is
    extended until the row is among its picks, the pool is exhausted, or it would take too long. The
    largest budget tried is 0 if the method selects by data that are not available here.
    """
    known = selection.method in METHODS
    if not known or METHODS[selection.method].needs not in ("influence", "nothing"):
        return None, 0
    budget = tried = len(selection)
    while tried < matrix.n_rows:
        budget = min(2 * budget, matrix.n_rows)
        if budget * matrix.n_columns > _SEARCHED and tried > len(selection):
            break
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ColumnWarning)
            longer = select(
                matrix,
                budget,
                method=selection.method,
                normalization=selection.normalization,
                tasks=tasks,
                subtasks=subtasks,
                sources=sources,
                seed=seed,
            )
        tried = budget
        place = np.flatnonzero(longer.indices == row)
        if len(place):
            return int(place[0]) + 1, tried
    return None, tried
