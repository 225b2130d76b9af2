"""The Fisher metric of projected features: TRAK's kernel, kept symmetric so that cosines exist.

F = mean_i f_i f_i' over the training features f (with their lengths). The metric is (F +
damping)^-1: with the Cholesky factor F + damping = L L', the whitened rows are L^-1 f, and the
inner product of two of them is f' (F + damping)^-1 h for features f and h. TRAK (arXiv 2303.14186,
equation 13) has the same kernel without damping; with P near or above N the matrix needs damping to
be invertible.

Shapes: N train, P projected, b rows of a block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from bids_core.gradients.store import unit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bids_core.gradients.store import GradientStore

Floats = npt.NDArray[np.float32]

_BLOCK_ROWS = 1024


class FisherMetric:
    """A linear map that turns plain inner products into those of the Fisher metric.

    Args:
        whitening_PP: L^-1, float32.
    """

    def __init__(self, whitening_PP: Floats) -> None:
        self._whitening_PP = whitening_PP

    @classmethod
    def fit(cls, store: GradientStore, *, damping: float = 0.1) -> FisherMetric:
        """Fit to the training features of one checkpoint.

        Args:
            store: training side; meant for `sgd` features, whose second moment is the Fisher
                matrix.
            damping: share of F's mean eigenvalue, added to its diagonal.
        """
        norms = store.norms
        blocks = (
            rows * norms[start : start + len(rows), None]
            for start, rows in store.blocks(_BLOCK_ROWS)
        )
        return cls.of_rows(blocks, dim=store.dim, n_rows=store.n_rows, damping=damping)

    @classmethod
    def of_rows(
        cls, blocks: Iterable[Floats], *, dim: int, n_rows: int, damping: float
    ) -> FisherMetric:
        """Fit to features given block by block, each [b, P]."""
        total_PP = torch.zeros(dim, dim, dtype=torch.float64)
        for rows in blocks:
            block = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))
            total_PP += block.T @ block
        total_PP /= n_rows
        total_PP.diagonal().add_(damping * total_PP.trace() / dim)
        factor = torch.linalg.cholesky(total_PP)
        whitening = torch.linalg.solve_triangular(
            factor, torch.eye(dim, dtype=torch.float64), upper=False
        )
        # cosines depend on directions only; scaled to a range that float32 holds well
        whitening /= whitening.diagonal().mean()
        return cls(whitening.float().numpy())

    def whiten(self, rows_bP: Floats, *, row_ids: list[str]) -> Floats:
        """Return unit rows in the Fisher metric, [b, P] float32."""
        whitened: Floats = rows_bP @ self._whitening_PP.T
        return unit(whitened, row_ids=row_ids)
