"""Rows without gradients: what a screen misses, and how accurate inferred influence is.

Shapes: N rows of the matrix.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Screened:
    """The effect of a screen on the pool and the picks.

    Args:
        by: method that chose the rows that get gradients.
        pool_rows: rows of the pool.
        kept: rows that it chose.
        sampled: random rows among the others, which also got gradients.
        sampled_picked: how many of these were selected.
        picks: rows selected.
        missed: estimate of how many picks would be different if all rows had gradients: the
            fraction of the sampled rows that were selected, times the rows screened out.
        low: lower end of its 95% interval (Wilson).
        high: upper end.
    """

    by: str
    pool_rows: int
    kept: int
    sampled: int
    sampled_picked: int
    picks: int
    missed: float
    low: float
    high: float

    @classmethod
    def of(
        cls, *, by: str, pool_rows: int, kept: int, sampled: int, sampled_picked: int, picks: int
    ) -> Screened:
        """Estimate what was missed; without sampled rows, `high` is the maximum.

        Sampled rows that were selected are picks already, so the missed ones are among the rows
        without gradients.
        """
        left = pool_rows - kept - sampled
        if not left:
            return cls(by, pool_rows, kept, sampled, sampled_picked, picks, 0.0, 0.0, 0.0)
        if not sampled:
            most = float(min(picks, left))
            return cls(by, pool_rows, kept, sampled, sampled_picked, picks, 0.0, 0.0, most)
        from scipy.stats import binomtest

        interval = binomtest(sampled_picked, sampled).proportion_ci(method="wilson")
        missed, low, high = (
            min(float(picks), share * left)
            for share in (sampled_picked / sampled, interval.low, interval.high)
        )
        return cls(by, pool_rows, kept, sampled, sampled_picked, picks, missed, low, high)

    @property
    def words(self) -> str:
        """The result as text."""
        with_gradients = self.kept + self.sampled
        text = (
            f"{with_gradients:,} of the {self.pool_rows:,} rows got gradients: {self.kept:,} "
            f"picked by {self.by} and {self.sampled:,} random ones among the others."
        )
        if not self.sampled:
            return text
        return text + (
            f" {self.sampled_picked:,} of the random rows were selected, so about "
            f"{self.missed:,.0f} of the {self.picks:,} picks (95%: {self.low:,.0f} to "
            f"{self.high:,.0f}) would be different if all rows had gradients."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and the text, JSON-serialisable."""
        return asdict(self) | {"words": self.words}


@dataclass(frozen=True)
class Inferred:
    """How much the picks depend on inferred influence.

    Args:
        rows: rows of the matrix.
        landmarks: rows whose influence was computed.
        picks: rows selected.
        picks_inferred: selected rows whose influence is inferred.
        expected_error: median over the inferred rows, in standard deviations of the columns; 0 if
            nothing is inferred.
        agreement: correlation between each landmark's influence and that of its nearest other
            landmark, median over columns; None if no column varies.
    """

    rows: int
    landmarks: int
    picks: int
    picks_inferred: int
    expected_error: float
    agreement: float | None

    @classmethod
    def of(
        cls,
        expected_error_N: npt.NDArray[np.float32],
        picked_N: npt.NDArray[np.bool_],
        *,
        agreement: float | None,
    ) -> Inferred:
        """Count the rows and picks.

        Args:
            expected_error_N: expected error of each row; 0 for landmarks.
            picked_N: whether each row was selected.
            agreement: agreement between landmarks.
        """
        inferred = expected_error_N > 0
        return cls(
            rows=len(inferred),
            landmarks=int((~inferred).sum()),
            picks=int(picked_N.sum()),
            picks_inferred=int((picked_N & inferred).sum()),
            expected_error=float(np.median(expected_error_N[inferred])) if inferred.any() else 0.0,
            agreement=agreement,
        )

    @property
    def words(self) -> str:
        """The result as text."""
        if self.landmarks == self.rows:
            return "All rows are landmarks: nothing is inferred."
        told = "" if self.agreement is None else f", with a correlation of {self.agreement:.2f}"
        return (
            f"{self.landmarks:,} of the {self.rows:,} rows got gradients; every other row "
            "takes the influence of the landmark with the nearest hidden states. "
            f"{self.picks_inferred:,} of the {self.picks:,} picks rest on such influence, "
            f"which is off by about {self.expected_error:.1f} standard deviations (measured "
            f"on the landmarks themselves{told})."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and the text, JSON-serialisable."""
        return asdict(self) | {"words": self.words}
