"""Shapes of the attribution matrix's columns: how skewed, how bimodal.

Shapes: N pool rows, M validation instances.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import kurtosis, skew

if TYPE_CHECKING:
    import numpy.typing as npt


def column_shapes(matrix_NM: npt.NDArray[np.float32]) -> dict[str, float]:
    """Return medians over the columns of skewness, excess kurtosis and Sarle's coefficient."""
    values = matrix_NM.astype(np.float64)
    skewness, excess = skew(values, axis=0), kurtosis(values, axis=0)
    sarle = (skewness**2 + 1) / (excess + 3)
    return {
        "skewness": float(np.median(skewness)),
        "excess_kurtosis": float(np.median(excess)),
        "bimodality": float(np.median(sarle)),
    }
