"""How much of the exact influence and picks a cheaper setting keeps, and which settings pay off.

On a sample of the pool, with E the exact influence and u_i the mean over tasks of the mean of E_ij
over the task's instances (from which `bids validate` computes its gain):

- rank correlation: Spearman's, of each column with the same column of E, over the rows that get
  influence in the setting; mean over columns, with an interval from a bootstrap over columns.
- overlap: the share of the exact picks that the setting picks too; by chance it equals the budget's
  share of the pool. Its interval is Jeffreys' for a share of that many picks.
- kept: (mean u of the setting's picks - mean u of all rows) / (mean u of the exact picks - mean u
  of all rows), the share kept of the exact picks' advantage over random ones; 1 - kept is the
  expected loss. Its interval is from a bootstrap over the sample's rows with the picks held fixed:
  they are not selected again in each draw.

Source: Jeffreys' interval, Brown, Cai and DasGupta (2001), section 4; closed at its ends.

Shapes: n rows of the sample, M validation instances, r rows with influence, k picks, R draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from bids_core.diagnostics.rank_correlation import (
    DRAWS,
    Estimate,
    mean_known,
    resamples,
    spearman,
)
from bids_core.errors import MatrixError
from bids_core.influence.matrix import finite_values
from bids_core.selection.request import checked_names, groups_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.influence.matrix import MatrixLike

Floats = npt.NDArray[np.float64]

LEAST_PICKS: Final = 20
"""With fewer picks the interval of an overlap is wider than 0.4, too wide for conclusions."""
_TAIL: Final = 0.025


def least_sample(picks: int, pool_rows: int) -> int:
    """Return the rows of the smallest sample whose share of the pool's picks is LEAST_PICKS.

    Args:
        picks: of the whole pool.
        pool_rows: of the whole pool.
    """
    return -(-LEAST_PICKS * pool_rows // picks)


@dataclass(frozen=True)
class Fidelity:
    """How much a setting keeps.

    Args:
        n_rows: rows that get influence.
        rank_correlation: with the exact influence, mean over columns.
        overlap: share of the exact picks that it picks.
        kept: share of the exact picks' advantage over random rows; NaN if there is none.
    """

    n_rows: int
    rank_correlation: Estimate
    overlap: Estimate
    kept: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "n_rows": self.n_rows,
            "rank_correlation": self.rank_correlation.to_dict(),
            "overlap": self.overlap.to_dict(),
            "kept": self.kept.to_dict(),
            "lost": lost(self.kept).to_dict(),
        }


class Yardstick:
    """The exact influence and picks of a sample, against which settings are measured.

    Args:
        exact_nM: [n, M] influence.
        picks_k: indices of the picks in the sample.
        tasks: M task names.
        draws: R, number of bootstrap draws.
        seed: of the draws, shared by all settings.

    Raises:
        MatrixError: the arguments do not match each other, or are not finite.
    """

    def __init__(
        self,
        exact_nM: MatrixLike,
        picks_k: npt.ArrayLike,
        *,
        tasks: Sequence[str],
        draws: int = DRAWS,
        seed: int = 0,
    ) -> None:
        self._exact_nM = finite_values(exact_nM)
        n, columns = self._exact_nM.shape
        self._picked = _places(picks_k, n)
        names = checked_names(tasks, columns, "tasks", "validation instances") or ()
        self._worth_n: Floats = np.mean(
            [self._exact_nM[:, group].mean(axis=1) for group in groups_of(names)], axis=0
        )
        self._columns = resamples(columns, draws=draws, seed=seed)
        drawn = resamples(n, draws=draws, seed=seed)
        self._counts = np.stack([np.bincount(rows, minlength=n) for rows in drawn]).astype(np.uint8)
        self._advantage = self._over_random(self._picked)

    @property
    def chance(self) -> float:
        """Expected overlap of random picks."""
        return len(self._picked) / len(self._exact_nM)

    @property
    def judges(self) -> bool:
        """Whether the exact picks clearly have more influence than random rows."""
        value, draws_R = self._advantage
        return value > 0 and bool((draws_R > 0).mean() >= 1 - _TAIL)

    def measure(
        self, rows_r: npt.ArrayLike, influence_rM: MatrixLike, picks_k: npt.ArrayLike
    ) -> Fidelity:
        """Return how much a setting keeps.

        Args:
            rows_r: indices in the sample of the rows that get influence.
            influence_rM: [r, M], their influence in this setting.
            picks_k: indices of its picks in the sample.

        Raises:
            MatrixError: the arguments do not match the sample, or are not finite.
        """
        influence = finite_values(influence_rM)
        rows, picked = (_places(found, len(self._exact_nM)) for found in (rows_r, picks_k))
        if influence.shape != (len(rows), self._exact_nM.shape[1]):
            msg = f"influence {influence.shape} does not fit {len(rows)} rows of the sample"
            raise MatrixError(msg)
        rho_M = spearman(influence, self._exact_nM[rows])
        hits = len(np.intersect1d(self._picked, picked))
        return Fidelity(
            n_rows=len(rows),
            rank_correlation=Estimate.of(
                float(mean_known(rho_M)), mean_known(rho_M[self._columns])
            ),
            overlap=share_of(hits, len(self._picked)),
            kept=self._kept(picked),
        )

    def _kept(self, picked: npt.NDArray[np.int64]) -> Estimate:
        if not self.judges:
            return Estimate(math.nan, math.nan, math.nan)
        value, draws_R = self._over_random(picked)
        whole, whole_R = self._advantage
        sure = whole_R > 0
        return Estimate.of(value / whole, draws_R[sure] / whole_R[sure])

    def _over_random(self, picked: npt.NDArray[np.int64]) -> tuple[float, Floats]:
        """Return the mean u of some rows minus that of all rows, and the same in each draw, [R]."""
        worth, n = self._worth_n, len(self._worth_n)
        there = self._counts[:, picked].astype(np.float64)
        total = there.sum(axis=1)
        means = np.divide(
            there @ worth[picked], total, out=np.full(len(total), np.nan), where=total > 0
        )
        draws_R: Floats = means - np.array([counts @ worth for counts in self._counts]) / n
        return float(worth[picked].mean() - worth.mean()), draws_R


def share_of(hits: int, total: int) -> Estimate:
    """Return a share with Jeffreys' 95% interval; closed at 0 and at 1."""
    from scipy.stats import beta

    low, high = beta.ppf([_TAIL, 1 - _TAIL], hits + 0.5, total - hits + 0.5)
    return Estimate(
        hits / total, 0.0 if hits == 0 else float(low), 1.0 if hits == total else float(high)
    )


def lost(kept: Estimate, gain: float = 1.0) -> Estimate:
    """Return the expected loss: (1 - kept) times what the exact picks gain over random rows.

    Args:
        kept: the share kept.
        gain: in nats, as measured by `bids validate --full`; 1 gives the loss as a share of the
            gain.
    """
    return Estimate(gain * (1 - kept.value), gain * (1 - kept.high), gain * (1 - kept.low))


def efficient(costs: Sequence[float], overlaps: Sequence[float]) -> list[bool]:
    """Return whether each setting is efficient: no other is as good in both and better in one.

    Args:
        costs: of the settings.
        overlaps: of the settings.
    """
    pairs = list(zip(costs, overlaps, strict=True))
    return [
        not any(
            cost <= mine and overlap >= my_overlap and (cost, overlap) != (mine, my_overlap)
            for cost, overlap in pairs
        )
        for mine, my_overlap in pairs
    ]


def choose(
    costs: Sequence[float],
    overlaps: Sequence[float],
    *,
    least: float,
    allowed: Sequence[bool] | None = None,
    best: bool = False,
) -> int | None:
    """Return the setting to use: the cheapest with enough overlap, or the best that is allowed.

    Args:
        costs: of the settings.
        overlaps: of the settings.
        least: overlap that is enough.
        allowed: which of them may be chosen; None: all.
        best: choose the largest overlap (of equals the cheapest), ignoring `least`.

    Returns:
        Its index; None if there is none.
    """
    places = [i for i in range(len(costs)) if allowed is None or allowed[i]]
    if best:
        return min(places, key=lambda i: (-overlaps[i], costs[i]), default=None)
    enough = [i for i in places if overlaps[i] >= least]
    return min(enough, key=lambda i: (costs[i], -overlaps[i]), default=None)


def _places(places: npt.ArrayLike, n: int) -> npt.NDArray[np.int64]:
    found = np.asarray(places, dtype=np.int64)
    if not len(found) or len(np.unique(found)) != len(found):
        msg = "give at least one row, and each row once"
        raise MatrixError(msg)
    if found.min() < 0 or found.max() >= n:
        msg = f"a row number is beyond the {n} rows of the sample"
        raise MatrixError(msg)
    return found
