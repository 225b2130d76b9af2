"""BIDS that subtracts a row's harm, and balances harder.

BIDS looks only at the instance that a row helps most. A row with a wrong answer often looks good to
one noisy instance and bad to many: here its mean harm to all instances counts against it. And the
mean over the picks, with which BIDS balances, counts twice:

    argmax_i max_j ( z_ij - MEAN_WEIGHT * mean_{k in T} z_kj ) - HARM_WEIGHT * h_i,
    h_i = (1 / M) sum_j max(0, -z_ij).

This is the BIDS loop on y_ij = z_ij - HARM_WEIGHT * h_i with a weighted mean: the mean of h over T
is the same for every row and column, so it changes no pick. Utilities are those of the loop on y.

Shapes: N training rows, M validation instances (columns), R rows of a block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from bids_core.influence.matrix import Matrix
from bids_core.influence.normalization import ColumnScale, no_scaling, prepare
from bids_core.selection.bids import pick_iteratively
from bids_core.selection.methods import selection_method

if TYPE_CHECKING:
    from bids_core.selection.request import Request
    from bids_core.selection.result import Picks

Floats = npt.NDArray[np.float64]

HARM_WEIGHT: Final = 3.0
MEAN_WEIGHT: Final = 2.0
"""Chosen on development seeds of `benchmarks/controlled.py`, among 0, 1, 2, 3, 6 and 1, 2, 3, 4;
docs/results/controlled.md shows how they do on seeds and pools not used in the choice."""


@selection_method(
    what="BIDS, minus the harm a row does to other instances",
    label="cautious BIDS",
    normalized=True,
)
def bids_cautious(request: Request) -> Picks:
    """Pick like BIDS, with a row's mean harm taken off its worth and a mean that counts twice.

    Holds a second matrix in float64, like `rank`. Source: ours, docs/results/controlled.md.
    """
    matrix, scale = prepare(request.matrix, request.normalization)
    lowered = Matrix(
        lowered_by_harm(matrix, scale), row_ids=matrix.row_ids, validation_ids=matrix.validation_ids
    )
    unscaled = no_scaling(matrix.n_columns)
    return pick_iteratively(
        lowered,
        ColumnScale(unscaled.center, unscaled.scale, scale.usable),
        request.budget,
        mean_weight=MEAN_WEIGHT,
        progress=request.progress,
    )


def lowered_by_harm(matrix: Matrix, scale: ColumnScale) -> Floats:
    """Return y (see the module's docstring), [N, M]; unusable columns count as no harm.

    Args:
        matrix: [N, M] finite raw values.
        scale: their normalisation.
    """
    lowered = np.empty((matrix.n_rows, matrix.n_columns))
    for start, block in matrix.blocks():
        z_RM = scale.apply(block)
        # C order, so that a row's mean does not depend on the rows around it.
        usable_RM = np.ascontiguousarray(z_RM[:, scale.usable])
        harm_R = np.maximum(0.0, -usable_RM).mean(axis=1)
        lowered[start : start + len(block)] = z_RM - HARM_WEIGHT * harm_R[:, None]
    return lowered
