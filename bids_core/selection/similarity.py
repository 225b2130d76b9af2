"""Similarity of hidden states, for RDS and RDS+.

Shapes: N training rows, M validation instances, H hidden size.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bids_core.errors import MatrixError
from bids_core.influence.matrix import MatrixLike, as_matrix
from bids_core.influence.normalization import prepare


def cosine_similarity(
    representations: MatrixLike, validation_representations: MatrixLike
) -> npt.NDArray[np.float32]:
    """Return the cosine of every training row with every validation instance.

    Args:
        representations: [N, H].
        validation_representations: [M, H].

    Returns:
        [N, M] float32.

    Raises:
        MatrixError: the widths differ, an entry is not finite, or a row is zero.
    """
    train = as_matrix(representations)
    validation = as_matrix(validation_representations)
    if train.n_columns != validation.n_columns:
        msg = (
            f"training representations have width {train.n_columns}, those of the validation "
            f"instances {validation.n_columns}; use the same model and pooling for both"
        )
        raise MatrixError(msg)
    for matrix in (train, validation):
        prepare(matrix, "none")  # refuses entries that are not finite
    units_MH = _units(validation.take(np.arange(validation.n_rows)), "validation instance", 0)
    similarity = np.empty((train.n_rows, validation.n_rows), dtype=np.float32)
    for start, block in train.blocks():
        unit_RH = _units(block, "training row", start)
        similarity[start : start + len(block)] = unit_RH @ units_MH.T
    return similarity


def _units(rows: npt.NDArray[np.generic], what: str, start: int) -> npt.NDArray[np.float64]:
    wide = rows.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    zero = np.flatnonzero(norms == 0)
    if len(zero):
        msg = f"the representation of {what} {start + int(zero[0])} is zero: it has no direction"
        raise MatrixError(msg)
    units: npt.NDArray[np.float64] = wide / norms
    return units
