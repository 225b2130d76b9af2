"""Methods that move the mass of the validation instances onto training rows.

Shapes: N training rows, M validation instances (columns), L nearest rows, R rows of a block. The
pipeline's influence is a mean of cosines, so distances are 1 - A; a matrix on another scale works
too, but the constants below were chosen for cosines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from bids_core.selection.best_rows import top_rows
from bids_core.selection.methods import selection_method
from bids_core.selection.result import Picks
from bids_core.selection.scoring import highest

if TYPE_CHECKING:
    from bids_core.influence.matrix import Matrix
    from bids_core.selection.request import Request

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NEIGHBOURS: Final = 5000
ALPHA: Final = 0.01
C: Final = 5.0
"""L, alpha and C of TSDS, as set in arXiv 2602.14696."""
ENTROPY: Final = 0.01
ROW_PENALTY: Final = 1e-4
"""Entropic regularisation, and the KL penalty on the training rows' masses, as in the unbalanced
optimal transport of arXiv 2602.14696. The instances' masses are kept exactly."""
_CONVERGED: Final = 1e-12
_MOST_ITERATIONS: Final = 1000


@selection_method(what="most often among instances' nearest rows (TSDS)")
def knn_uniform(request: Request) -> Picks:
    """Every validation instance gives equal mass to its K nearest rows; most mass first.

    K is the smallest number at which spreading further costs more distance than it gains diversity:
    (alpha / C) * sum_j sum_{k <= K} (d_{j,K+1} - d_{jk}) >= (1 - alpha) M. Rows with the same mass
    are ordered by their highest influence, then by index (in the source: by index). Source: TSDS
    (arXiv 2410.11303), algorithm 1, as used in arXiv 2602.14696.
    """
    matrix = request.matrix
    rows_ML, values_ML = top_rows(matrix, min(NEIGHBOURS, matrix.n_rows))
    k = neighbours_to_use(values_ML)
    mass = np.bincount(rows_ML[:, :k].ravel(), minlength=matrix.n_rows) / (k * matrix.n_columns)
    best, winner = row_maxima(matrix)
    order = np.lexsort((-best, -mass))[: request.budget].astype(np.int64)
    return Picks(order, mass[order], winner[order])


def neighbours_to_use(values_ML: Floats) -> int:
    """Return K, given each instance's influences in descending order."""
    n_columns, length = values_ML.shape
    counts = np.arange(1, length)
    nearest = np.cumsum(values_ML, axis=1)[:, :-1]
    gaps = (nearest - counts * values_ML[:, 1:]).sum(axis=0)  # the 1 of 1 - A cancels
    enough = np.flatnonzero((ALPHA / C) * gaps >= (1 - ALPHA) * n_columns)
    return int(counts[enough[0]]) if len(enough) else length


@selection_method(what="most mass in an unbalanced transport plan")
def optimal_transport(request: Request) -> Picks:
    """Rank rows by the mass that an unbalanced optimal transport plan gives them.

    The cost is (1 - A) / 2, with entropic regularisation and a KL penalty on the rows' masses only.
    The plan is the fixed point of Sinkhorn's iterations, run on blocks of rows so that no second
    matrix is held. The tests compare it with POT. Source: arXiv 2602.14696.
    """
    matrix = request.matrix
    mass = transported_mass(matrix)
    _, winner = row_maxima(matrix)
    order = highest(mass, request.budget)
    return Picks(order, mass[order], winner[order])


def transported_mass(matrix: Matrix) -> Floats:
    """Return the [N] masses that arrive at the rows; they add up to 1."""
    top = np.full(matrix.n_columns, -np.inf)
    for _, block in matrix.blocks():
        np.maximum(top, block.max(axis=0), out=top)

    def kernel(block: npt.NDArray[Any]) -> tuple[Floats, Floats]:
        """exp(-cost / ENTROPY), each column scaled to at most 1: the scale cancels in the plan.

        Returns each row divided by its largest entry, and the logarithm of that entry, so that no
        row is lost to underflow, however far below the best it is.
        """
        shifted: Floats = np.subtract(block, top, dtype=np.float64)
        shifted *= 1 / (2 * ENTROPY)
        highest_R: Floats = shifted.max(axis=1)
        shifted -= highest_R[:, None]
        return np.exp(shifted, out=shifted), highest_R

    power = ROW_PENALTY / (ROW_PENALTY + ENTROPY)
    log_mass = np.empty(matrix.n_rows)
    column_scale = np.ones(matrix.n_columns)  # Sinkhorn's u; v is a function of it
    for iteration in range(_MOST_ITERATIONS):
        arriving = np.zeros(matrix.n_columns)
        for start, block in matrix.blocks():
            kernel_RM, highest_R = kernel(block)
            log_reached = highest_R + np.log((kernel_RM * column_scale).sum(axis=1))
            # The first pass starts from v = 1, as in Sinkhorn's algorithm.
            log_scale = -power * (np.log(matrix.n_rows) + log_reached)
            if not iteration:
                log_scale = np.zeros(len(block))
            log_mass[start : start + len(block)] = log_scale + log_reached
            arriving += np.exp(log_scale + highest_R) @ kernel_RM
        updated = 1 / (matrix.n_columns * arriving)
        change = np.abs(updated / column_scale - 1).max()
        column_scale = updated
        if iteration and change < _CONVERGED:
            break
    mass: Floats = np.exp(log_mass)
    return mass


def row_maxima(matrix: Matrix) -> tuple[Floats, Ints]:
    """Return each row's highest entry and its column."""
    best, winner = np.empty(matrix.n_rows), np.empty(matrix.n_rows, dtype=np.int64)
    for start, block in matrix.blocks():
        rows = slice(start, start + len(block))
        winner[rows] = block.argmax(axis=1)
        best[rows] = block[np.arange(len(block)), winner[rows]]
    return best, winner
