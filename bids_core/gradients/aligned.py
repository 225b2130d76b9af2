"""The rows that the gradient stores of all checkpoints have in common.

With `on_nonfinite="reject"`, a row whose gradient is not finite at one checkpoint is missing from
that checkpoint alone. Influence sums over checkpoints, so the row must be left out of all.

Shapes: N rows of a store, K rows in common, P projected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bids_core.errors import MatrixError
from bids_core.gradients.store import Floats, GradientStore

if TYPE_CHECKING:
    from collections.abc import Sequence


class AlignedStore(GradientStore):
    """Some rows of a store, in its order.

    Args:
        store: the store.
        rows: [K] indices of the rows, ascending.
    """

    def __init__(self, store: GradientStore, rows: npt.NDArray[np.int64]) -> None:
        super().__init__(store.shards)
        self._rows_K = rows
        self._whole = store
        self.row_ids = [store.row_ids[row] for row in rows.tolist()]

    @property
    def norms(self) -> Floats:
        """[K] float32, lengths of the projected features."""
        return self._whole.norms[self._rows_K]

    @property
    def losses(self) -> Floats:
        """[K] float32, mean completion losses."""
        return self._whole.losses[self._rows_K]

    def rows(self, start: int, stop: int) -> Floats:
        """Return unit rows, [stop - start, P] float32."""
        wanted = self._rows_K[start:stop]
        if not len(wanted):
            return np.empty((0, self.dim), dtype=np.float32)
        first = int(wanted[0])
        return self._whole.rows(first, int(wanted[-1]) + 1)[wanted - first]

    def to_xarray(self) -> Any:
        """Return the rows as one lazily read `xarray.Dataset`."""
        return self._whole.to_xarray().isel(row=self._rows_K)


def align(stores: Sequence[GradientStore]) -> tuple[list[GradientStore], list[str]]:
    """Restrict stores to the rows that all of them hold.

    Args:
        stores: one per checkpoint, with their common rows in the same order.

    Returns:
        The stores (unchanged where nothing is left out), and the ids of the rows missing from at
        least one of them.

    Raises:
        MatrixError: no row is in every store.
    """
    common = set(stores[0].row_ids).intersection(*(store.row_ids for store in stores[1:]))
    if not common:
        msg = "no row has a finite gradient at every checkpoint; look at the warmup loss"
        raise MatrixError(msg)
    found: list[GradientStore] = []
    left_out: dict[str, None] = {}
    for store in stores:
        kept = np.array([row_id in common for row_id in store.row_ids])
        left_out |= {row_id: None for row_id in store.row_ids if row_id not in common}
        found.append(store if kept.all() else AlignedStore(store, np.flatnonzero(kept)))
    return found, list(left_out)
