"""Rank correlation of predictions with outcomes, column by column, with bootstrap intervals.

Each draw resamples the n observations (rows, or subsets) with replacement. Predictions that are
compared with each other share the draws, so what they have in common cancels in their difference.
The columns are fixed: an interval holds for these validation instances only.

Source: percentile intervals, Efron and Tibshirani (1993), chapter 13.

Shapes: n observations, M columns (validation instances), R draws.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping

Floats = npt.NDArray[np.float64]

DRAWS: Final = 1000
"""Bootstrap draws: the ends of a 95% interval then vary by about a tenth of its width."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval; NaN if unknown.

    Args:
        value: the estimate from the data themselves, without resampling.
        low: 2.5% quantile of the draws.
        high: 97.5% quantile of the draws.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, draws_R: npt.ArrayLike) -> Estimate:
        """Make an estimate with the interval of the draws that are not NaN."""
        known = np.asarray(draws_R, dtype=np.float64)
        known = known[~np.isnan(known)]
        if not len(known):
            return cls(float(value), float("nan"), float("nan"))
        low, high = np.quantile(known, (0.025, 0.975))
        return cls(float(value), float(low), float(high))

    @property
    def positive(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.low > 0

    def to_dict(self) -> dict[str, float | None]:
        """Return it as JSON values; None for NaN."""
        return {name: None if v != v else v for name, v in asdict(self).items()}


def spearman(predicted_nM: npt.ArrayLike, outcome_nM: npt.ArrayLike) -> Floats:
    """Return Spearman's rank correlation of each column.

    Args:
        predicted_nM: [n, M] predictions.
        outcome_nM: [n, M] outcomes.

    Returns:
        [M] float64; ties share their mean rank; NaN where a column does not vary.
    """
    return correlate(_ranks(predicted_nM), _ranks(outcome_nM))


def resampled_spearman(
    predictions: Mapping[str, npt.ArrayLike],
    outcome_nM: npt.ArrayLike,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Floats]:
    """Return the rank correlation of each prediction with the outcome in each draw.

    Args:
        predictions: predictions by name, [n, M] each.
        outcome_nM: [n, M] outcomes.
        draws: R bootstrap draws.
        seed: of the draws.

    Returns:
        By name, [R, M]; NaN where a column does not vary in a draw.
    """
    outcome = np.asarray(outcome_nM, dtype=np.float64)
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in predictions.items()}
    found = {name: np.empty((draws, outcome.shape[1])) for name in arrays}
    for index, rows in enumerate(resamples(len(outcome), draws=draws, seed=seed)):
        ranked = _ranks(outcome[rows])
        for name, values in arrays.items():
            found[name][index] = correlate(_ranks(values[rows]), ranked)
    return found


def resamples(n: int, *, draws: int = DRAWS, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return indices drawn with replacement, [R, n]."""
    return np.random.default_rng(seed).integers(0, n, (draws, n))


def mean_known(values: Floats, axis: int = -1) -> Floats:
    """Return the mean over an axis, ignoring NaN; NaN where all entries are."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    means: Floats = np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)
    return means


def correlate(one_nM: Floats, other_nM: Floats) -> Floats:
    """Return Pearson's correlation of each column, [M]; NaN where either does not vary."""
    a, b = one_nM - one_nM.mean(axis=0), other_nM - other_nM.mean(axis=0)
    scale = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    sums: Floats = (a * b).sum(axis=0)
    found: Floats = np.divide(sums, scale, out=np.full(len(scale), np.nan), where=scale > 0)
    return found


def _ranks(values_nM: npt.ArrayLike) -> Floats:
    from scipy.stats import rankdata

    ranked: Floats = rankdata(np.asarray(values_nM, dtype=np.float64), axis=0)
    return ranked
