"""BIDS: iterative selection of the row that adds most where the selection is weakest.

Shapes: N training rows, M validation instances (columns), B budget.

Literal form: while |T| < B, pick the row i outside T with the highest
max_j (z_ij - mean_{k in T} z_kj). Both maxima commute, so the best candidate of a column is its
highest unselected row, and a pick costs O(M) once each column's best rows are known. The result
is that of the literal loop in float64, rounding included: where rounding makes rows tie, the
lowest row wins, as in the literal loop.

Source: BIDS (arXiv 2501.12147), algorithm 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from bids_core.influence.normalization import prepare
from bids_core.progress import silent
from bids_core.selection.best_rows import BestRows
from bids_core.selection.methods import selection_method
from bids_core.selection.result import Picks
from bids_core.selection.row_reader import RowReader

if TYPE_CHECKING:
    from bids_core.influence.matrix import Matrix
    from bids_core.influence.normalization import ColumnScale
    from bids_core.progress import Progress
    from bids_core.selection.request import Request

Floats = npt.NDArray[np.float64]

_LOOKAHEAD: Final = 8
"""First length of a column's list, in picks per column."""
_REPORT_EVERY: Final = 4096


@selection_method(
    what="the row that helps the least served instance most",
    label="BIDS",
    normalized=True,
    colour="blue",
)
def bids(request: Request) -> Picks:
    """Pick, one at a time, the row that adds most where the selection is weakest.

    Source: BIDS (arXiv 2501.12147), algorithm 1.
    """
    matrix, scale = prepare(request.matrix, request.normalization)
    return pick_iteratively(matrix, scale, request.budget, progress=request.progress)


def pick_iteratively(
    matrix: Matrix,
    scale: ColumnScale,
    budget: int,
    *,
    mean_weight: float = 1.0,
    progress: Progress = silent,
) -> Picks:
    """Return the first `budget` picks of the BIDS loop.

    Args:
        matrix: [N, M] finite raw values.
        scale: the normalisation to apply; unusable columns take no part.
        budget: number of picks B, at most N.
        mean_weight: factor of the mean over the picks; 1 in the paper.
        progress: called with how many picks have been made.

    Returns:
        The picks, with the utility of each at the time it was picked.

    Source: BIDS, algorithm 1.
    """
    best = first_lists(matrix, scale, budget)
    return pick_from(best, budget, mean_weight=mean_weight, progress=progress)


def first_lists(matrix: Matrix, scale: ColumnScale, budget: int) -> BestRows:
    """Return the lists of best rows from which picking starts, long enough for most columns."""
    return BestRows(matrix, scale, _LOOKAHEAD * -(-budget // matrix.n_columns))


def pick_from(
    best: BestRows, budget: int, *, mean_weight: float = 1.0, progress: Progress = silent
) -> Picks:
    """Like `pick_iteratively`, from existing lists, which are consumed."""
    matrix, scale = best.matrix, best.scale
    reader = RowReader(matrix, best)
    picks = Picks(
        rows=np.empty(budget, np.int64),
        utilities=np.empty(budget),
        columns=np.empty(budget, np.int64),
        left_out=scale.left_out,
    )
    # An unusable column's mean is +inf, so its utility is -inf for every row.
    total = np.where(scale.usable, 0.0, np.inf)
    mean = total.copy()
    utility = np.empty_like(total)
    for step in range(budget):
        if step:
            np.divide(total, step, out=mean)
            mean *= mean_weight
        np.subtract(best.head_values, mean, out=utility)
        column = int(utility.argmax())
        highest = float(utility[column])
        row = int(best.head_rows[column])
        if _may_tie(best, utility, mean, column):
            row = _lowest_row(best, utility, mean, highest)
        z_row = scale.apply(reader.row(row))
        if row != best.head_rows[column]:
            column = int(np.argmax(z_row - mean == highest))
        picks.rows[step], picks.utilities[step] = row, highest
        picks.columns[step] = column
        total += z_row
        best.selected[row] = True
        best.advance((best.head_rows == row).nonzero()[0])
        if step % _REPORT_EVERY == 0:
            progress(step, budget)
    progress(budget, budget)
    return picks


def _may_tie(best: BestRows, utility: Floats, mean: Floats, column: int) -> bool:
    """Return whether another row may have the same utility as the head of the highest column."""
    highest = utility[column]
    utility[column] = -np.inf
    second = utility[utility.argmax()]
    utility[column] = highest
    return bool(second == highest or best.next_value(column) - mean[column] == highest)


def _lowest_row(best: BestRows, utility: Floats, mean: Floats, highest: float) -> int:
    """Return the lowest row that attains the highest utility, in whichever column."""
    tied = np.flatnonzero(utility == highest)
    row = int(best.head_rows[tied].min())
    for column in tied.tolist():
        if best.next_value(column) - mean[column] == highest:  # differences lost in rounding
            row = min(row, int(best.tied(column, float(mean[column]), highest).min()))
    return row
