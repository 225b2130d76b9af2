"""Instance-level normalisation: each column (validation instance) gets its own scale.

Shapes: N training rows, M validation instances (columns), R rows of one block.

Every kind but `rank` is affine, z_ij = (A_ij - center_j) / scale_j in float64, and is kept as the
two vectors, so that a large matrix is never copied. The kinds are listed in `NORMALIZATIONS`: a new
one is an entry there and the function that fits it.

Source: BIDS (arXiv 2501.12147), section on instance-level normalisation, for `zscore`. The others
are ours, for columns on which the z-score is doubtful (see `bids_core.diagnostics`).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from bids_core.errors import MatrixError
from bids_core.influence.matrix import Matrix, MatrixLike, as_matrix
from bids_core.registry import Entry, Registry, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Floats = npt.NDArray[np.float64]

_MAD_TO_SIGMA: Final = 1.4826
"""1 / Phi^-1(3/4): makes the median absolute deviation of a normal sample its sigma."""
_SUSPECT: Final = 1e-6
"""A column whose spread is below this share of its mean is compared entry by entry, because
rounding can give a constant column a tiny positive variance."""
_COLUMNS_AT_A_TIME: Final = 16
_NAMED: Final = 5
"""Columns that a warning names; the others are only counted."""


class ColumnWarning(UserWarning):
    """Some columns were left out, or are doubtful; the message names them."""


@dataclass(frozen=True)
class ColumnScale:
    """The affine map of each column, and which columns can be used.

    Args:
        center: [M] float64.
        scale: [M] float64, positive where usable.
        usable: [M] bool; False for a column without spread.
    """

    center: Floats
    scale: Floats
    usable: npt.NDArray[np.bool_]

    @property
    def left_out(self) -> tuple[int, ...]:
        """Columns that are not usable."""
        return tuple(np.flatnonzero(~self.usable).tolist())

    def apply(self, rows: npt.NDArray[Any]) -> Floats:
        """Return the normalised rows, [R, M] or [M]; unusable columns hold meaningless values."""
        shifted: Floats = np.subtract(rows, self.center, dtype=np.float64)
        shifted /= self.scale
        return shifted


@dataclass(frozen=True, kw_only=True)
class Normalization(Entry):
    """One normalisation.

    Args:
        fit: maps the matrix and its [M] column means to the columns' scales; or, if it is not
            affine, to a matrix to read instead and its scales. A column without spread is not
            `usable`.
        center: what is subtracted, in words.
        scale: what it is divided by, in words.
        spread: in words, what a column that is left out lacks.
        copies: number of [N, M] float64 matrices that it holds.
        advice: when to use it.
    """

    fit: Callable[[Matrix, Floats], ColumnScale | tuple[Matrix, ColumnScale]]
    center: str
    scale: str
    spread: str = "variance"
    copies: int = 0
    advice: str = ""


def normalize(attribution: MatrixLike, method: str = "zscore") -> Floats:
    """Return the normalised matrix.

    Args:
        attribution: [N, M] influence of training row i on validation instance j.
        method: one of `NORMALIZATIONS`.

    Returns:
        [N, M] float64. A column without spread cannot be normalised: it is NaN throughout, so that
        using it by mistake is noticed (`bids_core.selection.select` leaves it out).

    Raises:
        MatrixError: an entry is not finite, no column has spread, or the method is unknown.

    Warns:
        ColumnWarning: columns without spread, by name.

    Source: BIDS, instance-level normalisation.
    """
    matrix, scale = prepare(as_matrix(attribution), method)
    normalized = np.empty((matrix.n_rows, matrix.n_columns))
    for start, block in matrix.blocks():
        normalized[start : start + len(block)] = scale.apply(block)
    normalized[:, ~scale.usable] = np.nan
    return normalized


def prepare(matrix: Matrix, method: str) -> tuple[Matrix, ColumnScale]:
    """Check a matrix; return the matrix to read in its place, and the affine map to apply.

    Args:
        matrix: the attribution matrix.
        method: one of `NORMALIZATIONS`.

    Returns:
        The matrix itself and its column scales; for `rank` a matrix of the normal scores (in
        memory, float64) and scales that change nothing.

    Raises:
        MatrixError: see `normalize`.
    """
    if method not in NORMALIZATIONS:
        raise MatrixError(unknown_name("normalization", method, list(NORMALIZATIONS)))
    mean = _mean(matrix)  # also checks that every entry is finite
    chosen = NORMALIZATIONS[method]
    fitted = chosen.fit(matrix, mean)
    prepared, scale = fitted if isinstance(fitted, tuple) else (matrix, fitted)
    if not scale.usable.all():
        _report_unusable(matrix, scale.usable, chosen.spread)
    return prepared, scale


def no_scaling(n: int) -> ColumnScale:
    """Return the identity scale of `n` columns."""
    return ColumnScale(np.zeros(n), np.ones(n), np.ones(n, dtype=np.bool_))


def _mean(matrix: Matrix) -> Floats:
    """Return the [M] column means; refuse a matrix with an entry that is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = sum_columns(matrix, lambda block, out: np.copyto(out, block))
    if not np.isfinite(total).all():  # once a NaN or infinity is in a running sum, it stays
        matrix.refuse_nonfinite()
        column = matrix.column_name(int(np.flatnonzero(~np.isfinite(total))[0]))
        msg = f"the sum of {column} overflows float64: divide the matrix by a constant"
        raise MatrixError(msg)
    return total / matrix.n_rows


def sum_columns(matrix: Matrix, fill: Any) -> Floats:
    """Return column sums of f(block), added row after row in float64.

    The order of additions is that of `numpy.sum(axis=0)` on one C-ordered float64 array, so for M >
    1 the result is the same to the last bit whatever the block size.

    Args:
        matrix: [N, M].
        fill: called with ([R, M] block, [R, M] float64 array) to write f(block) into the array.

    Returns:
        [M] float64.
    """
    total = np.zeros(matrix.n_columns)
    buffer = np.empty((0, matrix.n_columns))
    for _, block in matrix.blocks():
        if len(buffer) <= len(block):
            buffer = np.empty((len(block) + 1, matrix.n_columns))
        buffer[0] = total
        fill(block, buffer[1 : len(block) + 1])
        total = buffer[: len(block) + 1].sum(axis=0)
    return total


def _zscore(matrix: Matrix, mean: Floats) -> ColumnScale:
    def squares(block: npt.NDArray[Any], out: Floats) -> None:
        np.subtract(block, mean, out=out)
        np.multiply(out, out, out=out)

    with np.errstate(over="ignore", under="ignore"):
        sigma = np.sqrt(sum_columns(matrix, squares) / matrix.n_rows)
    if not np.isfinite(sigma).all():
        column = matrix.column_name(int(np.flatnonzero(~np.isfinite(sigma))[0]))
        msg = f"the variance of {column} overflows float64: divide the matrix by a constant"
        raise MatrixError(msg)
    return _usable_scale(mean, sigma, _varies(matrix, mean, sigma))


def _varies(matrix: Matrix, mean: Floats, sigma: Floats) -> npt.NDArray[np.bool_]:
    """Return [M] bool: whether a column holds two different values."""
    suspect = np.flatnonzero(sigma <= _SUSPECT * np.abs(mean))
    varies = np.ones(len(mean), dtype=np.bool_)
    if len(suspect):
        first = matrix.take([0])[0, suspect]
        varies[suspect] = False
        for _, block in matrix.blocks():
            varies[suspect] |= (block[:, suspect] != first).any(axis=0)
    return varies


def _minmax(matrix: Matrix, mean: Floats) -> ColumnScale:
    low, high = np.full_like(mean, np.inf), np.full_like(mean, -np.inf)
    for _, block in matrix.blocks():
        np.minimum(low, block.min(axis=0), out=low)
        np.maximum(high, block.max(axis=0), out=high)
    return _usable_scale(low, high - low, high > low)


def _robust(matrix: Matrix, mean: Floats) -> ColumnScale:
    center, scale = np.empty_like(mean), np.empty_like(mean)
    for columns, values in columns_of(matrix):
        center[columns] = np.median(values, axis=1)
        spread = np.abs(values - center[columns, None])
        scale[columns] = _MAD_TO_SIGMA * np.median(spread, axis=1)
    return _usable_scale(center, scale, scale > 0)


def _ranked(matrix: Matrix, mean: Floats) -> tuple[Matrix, ColumnScale]:
    from scipy.special import ndtri
    from scipy.stats import rankdata

    scores = np.empty((matrix.n_rows, matrix.n_columns))
    for columns, values in columns_of(matrix):
        scores[:, columns] = ndtri((rankdata(values, axis=1) - 0.5) / matrix.n_rows).T
    usable = scores.max(axis=0) > scores.min(axis=0)
    unscaled = no_scaling(len(mean))
    ranked = Matrix(scores, row_ids=matrix.row_ids, validation_ids=matrix.validation_ids)
    return ranked, ColumnScale(unscaled.center, unscaled.scale, usable)


def columns_of(matrix: Matrix) -> Iterator[tuple[slice, Floats]]:
    """Yield (slice of columns, their [columns, N] values in float64) over all columns.

    A matrix on disk is read once per group of columns.
    """
    for first in range(0, matrix.n_columns, _COLUMNS_AT_A_TIME):
        columns = slice(first, min(first + _COLUMNS_AT_A_TIME, matrix.n_columns))
        values = np.empty((columns.stop - first, matrix.n_rows))
        for start, slab in matrix.slabs():
            values[:, start : start + len(slab)] = slab[:, columns].T
        yield columns, values


def _usable_scale(center: Floats, scale: Floats, varies: npt.NDArray[np.bool_]) -> ColumnScale:
    if not np.isfinite(scale).all():
        msg = "the range of a column overflows float64: divide the matrix by a constant"
        raise MatrixError(msg)
    usable = varies & (scale > 0)
    return ColumnScale(np.where(usable, center, 0.0), np.where(usable, scale, 1.0), usable)


def _report_unusable(matrix: Matrix, usable: npt.NDArray[np.bool_], what: str) -> None:
    columns = np.flatnonzero(~usable)
    named = ", ".join(matrix.column_name(int(column)) for column in columns[:_NAMED])
    more = f" and {len(columns) - _NAMED} more" if len(columns) > _NAMED else ""
    if len(columns) == matrix.n_columns:
        msg = f"no column has any {what} ({named}{more}), so there is nothing to select by"
        raise MatrixError(msg)
    msg = f"left out, because of zero {what}: {named}{more}"
    warnings.warn(msg, ColumnWarning, stacklevel=3)


NORMALIZATIONS: Final = Registry(
    "normalisation",
    (
        Normalization(
            name="zscore",
            what="in standard deviations from the mean (BIDS)",
            label="z-score",
            fit=_zscore,
            center="mean",
            scale="standard deviation (of the population)",
            advice="always first; it is the method of the paper",
        ),
        Normalization(
            name="minmax",
            what="from 0 to 1",
            label="min-max",
            fit=_minmax,
            center="minimum",
            scale="maximum - minimum",
            advice="for comparison; one outlier sets the scale",
        ),
        Normalization(
            name="robust",
            what="by median and median absolute deviation",
            fit=_robust,
            center="median",
            scale="1.4826 x median absolute deviation",
            spread="median absolute deviation",
            advice="a few outliers stretch some columns",
        ),
        Normalization(
            name="rank",
            what="normal scores of the ranks",
            fit=_ranked,
            center="normal score of the rank, Phi^-1((rank - 0.5) / N); ties share their mean",
            scale="",
            copies=1,
            advice="columns are skewed, heavy-tailed or bimodal; only order counts",
        ),
        Normalization(
            name="none",
            what="raw influence",
            fit=lambda _matrix, mean: no_scaling(len(mean)),
            center="0",
            scale="1",
            advice="the ablation -Norm",
        ),
    ),
)
"""Normalisations, by the names that users type."""
