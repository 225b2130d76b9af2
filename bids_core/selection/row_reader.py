"""Rows of a matrix on disk, fetched in bulk before they are picked.

A picked row is always among its column's next best, so the rows at the heads of the lists are
fetched together in one pass over the chunks; if a pick is not among them, there is another pass.

Shapes: N training rows, M validation instances (columns).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from bids_core.influence.matrix import Matrix
    from bids_core.selection.best_rows import BestRows

CACHE_BYTES: Final = 2 << 30
"""Memory for fetched rows, if the matrix sets none."""


class RowReader:
    """Reads single rows of a matrix.

    Args:
        matrix: [N, M].
        best: lists of best rows, from which the likely next picks are taken.
    """

    def __init__(self, matrix: Matrix, best: BestRows) -> None:
        self._matrix, self._best = matrix, best
        self._slots: dict[int, int] = {}
        self._rows: npt.NDArray[Any] = np.empty((0, matrix.n_columns))
        row_bytes = matrix.n_columns * matrix.values.dtype.itemsize
        cache_bytes = CACHE_BYTES if matrix.cache_bytes is None else matrix.cache_bytes
        self._capacity = max(1, cache_bytes // row_bytes)

    def row(self, index: int) -> npt.NDArray[Any]:
        """Return one row [M]."""
        if self._matrix.resident:
            return self._matrix.row(index)
        if index not in self._slots:
            self._fetch(index)
        row: npt.NDArray[Any] = self._rows[self._slots[index]]
        return row

    def _fetch(self, index: int) -> None:
        ahead = self._best.upcoming(self._capacity)
        rows = np.union1d(ahead[: self._capacity - 1], [index])
        del self._rows  # free them before reading the next ones
        self._rows = self._matrix.take(rows)
        self._slots = {row: slot for slot, row in enumerate(rows.tolist())}
