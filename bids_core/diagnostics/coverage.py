"""Which picks cover a row that was not picked.

Shapes: N training rows, M validation instances (columns), B picks, R rows asked about.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bids_core.errors import MatrixError
from bids_core.influence.matrix import MatrixLike, as_matrix
from bids_core.influence.normalization import ColumnWarning, prepare

if TYPE_CHECKING:
    import pandas as pd


def coverage(
    attribution: MatrixLike,
    picks: npt.ArrayLike,
    rows: npt.ArrayLike,
    *,
    normalization: str = "zscore",
) -> pd.DataFrame:
    """Return each row's worth after the last pick, its best instance, and what covers it.

    A row i is worth max_j (z_ij - mean over the picks of z_kj), its utility as the next pick of
    BIDS. The maximising j is the instance for which the row is worth most. The pick with the
    highest z_kj covers the row: it already serves that instance.

    Args:
        attribution: [N, M] influence.
        picks: [B] picked rows, in pick order.
        rows: [R] rows to ask about.
        normalization: normalisation of the columns.

    Returns:
        Frame of R lines: row, worth, column (j), z (of the row), covered_by (a row), covered_rank
        (its rank among the picks, from 1), covered_z.

    Raises:
        MatrixError: an index is not a row of the matrix, or there are no picks.
    """
    import pandas as pd

    matrix = as_matrix(attribution)
    chosen, asked = np.asarray(picks, dtype=np.int64), np.asarray(rows, dtype=np.int64)
    everything = np.concatenate([chosen, asked])
    if not len(chosen) or everything.min() < 0 or everything.max() >= matrix.n_rows:
        msg = (
            f"picks and rows must be row numbers of the matrix (0 to {matrix.n_rows - 1}), "
            "with at least one pick"
        )
        raise MatrixError(msg)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ColumnWarning)  # the selection has warned already
        prepared, scale = prepare(matrix, normalization)
    z_BM = scale.apply(prepared.take(chosen))
    z_RM = scale.apply(prepared.take(asked))
    gain_RM = np.where(scale.usable, z_RM - z_BM.mean(axis=0), -np.inf)
    columns = gain_RM.argmax(axis=1) if len(asked) else np.empty(0, dtype=np.int64)
    best = np.array([z_BM[:, column].argmax() for column in columns], dtype=np.int64)
    lines = np.arange(len(asked))
    return pd.DataFrame(
        {
            "row": asked,
            "worth": gain_RM[lines, columns],
            "column": columns,
            "z": z_RM[lines, columns],
            "covered_by": chosen[best],
            "covered_rank": best + 1,
            "covered_z": z_BM[best, columns],
        }
    )
