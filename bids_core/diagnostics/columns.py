"""The distribution of each column: is the z-score a fair scale for it?

Z-scores compare columns fairly if these are roughly normal. With a long tail, a few rows dominate
the picks of a column; with two modes, the standard deviation mostly measures the distance between
them.

Shapes: N training rows, M validation instances (columns), K bins.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from bids_core.influence.matrix import MatrixLike, as_matrix
from bids_core.influence.normalization import ColumnWarning, prepare, sum_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

Floats = npt.NDArray[np.float64]

SKEWED: Final = 2.0
HEAVY_TAILED: Final = 7.0
"""Absolute skewness and excess kurtosis beyond which a sample is far from normal (West, Finch and
Curran 1995)."""
BIMODAL: Final = 5 / 9
"""Sarle's coefficient of the uniform distribution; above it two modes are likely (Pfister et al.
2013, doi:10.3389/fpsyg.2013.00700). Heavy skew raises it too."""
_NAMED: Final = 5


def column_shapes(
    attribution: MatrixLike, *, tasks: Sequence[str] | None = None, warn: bool = True
) -> pd.DataFrame:
    """Return location, spread and shape of every column.

    Args:
        attribution: [N, M] influence.
        tasks: M task names, to show next to the columns.
        warn: issue a `ColumnWarning` that names the columns with a doubtful z-score.

    Returns:
        Frame of M lines: column, validation_id, task, mean, std, skewness, excess_kurtosis,
        bimodality (Sarle's coefficient), doubtful (skewed, heavy-tailed, bimodal, constant, or
        empty for none of these). The shape statistics of a constant column are NaN.

    Raises:
        MatrixError: an entry is not finite, or all columns are constant.
    """
    import pandas as pd

    matrix = as_matrix(attribution)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ColumnWarning)  # the result shows constant columns
        _, scale = prepare(matrix, "zscore")

    def power(exponent: int) -> Floats:
        def fill(block: npt.NDArray[Any], out: Floats) -> None:
            z_RM = scale.apply(block)
            np.multiply(z_RM, z_RM, out=out)
            np.multiply(out, z_RM if exponent == 3 else out, out=out)  # np.power is far slower

        return np.where(scale.usable, sum_columns(matrix, fill) / matrix.n_rows, np.nan)

    skewness, kurtosis = power(3), power(4)
    frame = pd.DataFrame(
        {
            "column": np.arange(matrix.n_columns),
            "validation_id": [str(n) for n in matrix.validation_ids or range(matrix.n_columns)],
            "task": pd.Series(list(tasks) if tasks else [None] * matrix.n_columns, dtype="str"),
            "mean": np.where(scale.usable, scale.center, matrix.row(0)),
            "std": np.where(scale.usable, scale.scale, 0.0),
            "skewness": skewness,
            "excess_kurtosis": kurtosis - 3,
            "bimodality": _sarle(skewness, kurtosis, matrix.n_rows),
        }
    )
    frame["doubtful"] = [_doubts(*shape) for shape in
                         zip(frame["skewness"], frame["excess_kurtosis"], frame["bimodality"],
                             strict=True)]  # fmt: skip
    if warn:
        _warn(frame, [matrix.column_name(column) for column in range(matrix.n_columns)])
    return frame


def _sarle(skewness: Floats, kurtosis: Floats, n: int) -> Floats:
    """Return (g1^2 + 1) / kurtosis with small-sample corrections; NaN for fewer than four rows."""
    if n < 4:
        return np.full_like(skewness, np.nan)
    g1 = skewness * np.sqrt(n * (n - 1)) / (n - 2)
    g2 = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * (kurtosis - 3) + 6)
    coefficient: Floats = (g1**2 + 1) / (g2 + 3 * (n - 1) ** 2 / ((n - 2) * (n - 3)))
    return coefficient


def _doubts(skewness: float, excess_kurtosis: float, bimodality: float) -> str:
    if np.isnan(skewness):
        return "constant"
    found = {
        "skewed": abs(skewness) > SKEWED,
        "heavy-tailed": excess_kurtosis > HEAVY_TAILED,
        "bimodal": bimodality > BIMODAL and abs(skewness) <= SKEWED,
    }
    return ", ".join(name for name, holds in found.items() if holds)


def _warn(frame: pd.DataFrame, names: list[str]) -> None:
    doubtful = frame[(frame["doubtful"] != "") & (frame["doubtful"] != "constant")]
    if doubtful.empty:
        return
    named = "; ".join(
        f"{names[column]} {doubt}"
        for column, doubt in zip(
            doubtful["column"].tolist()[:_NAMED], doubtful["doubtful"], strict=False
        )
    )
    more = f" and {len(doubtful) - _NAMED} more" if len(doubtful) > _NAMED else ""
    msg = (
        f"z-scores are doubtful for {len(doubtful)} of {len(frame)} columns: {named}{more}; "
        "compare the selection with normalization 'rank' or 'robust'"
    )
    warnings.warn(msg, ColumnWarning, stacklevel=3)


def column_histograms(attribution: MatrixLike, *, bins: int = 40) -> pd.DataFrame:
    """Return a histogram of each column's z-scores, with the normal curve.

    Args:
        attribution: [N, M] influence.
        bins: K bins from -5 to 5; the outermost ones include everything beyond.

    Returns:
        Frame of M x K lines: column, low, high, count, normal (the expected count for a normal
        column). Constant columns are left out.
    """
    import pandas as pd
    from scipy.special import ndtr

    matrix = as_matrix(attribution)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ColumnWarning)
        _, scale = prepare(matrix, "zscore")
    edges = np.linspace(-5, 5, bins + 1)
    counts = np.zeros((matrix.n_columns, bins), dtype=np.int64)
    offsets = np.arange(matrix.n_columns) * bins
    for _, block in matrix.blocks():
        place = scale.apply(block)
        place += 5
        place *= bins / 10
        np.clip(place, 0, bins - 1, out=place)  # so that truncation is the floor
        flat = (place.astype(np.int64) + offsets).ravel()
        counts += np.bincount(flat, minlength=counts.size).reshape(counts.shape)
    inner = ndtr(edges)
    inner[0], inner[-1] = 0.0, 1.0
    usable = np.flatnonzero(scale.usable)
    return pd.DataFrame(
        {
            "column": np.repeat(usable, bins),
            "low": np.tile(edges[:-1], len(usable)),
            "high": np.tile(edges[1:], len(usable)),
            "count": counts[usable].ravel(),
            "normal": np.tile(np.diff(inner) * matrix.n_rows, len(usable)),
        }
    )
