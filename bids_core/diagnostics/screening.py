"""How many good rows a screen left out, told by random rows that got gradients all the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Screened:
    """What a screen did to a pool and its picks.

    Args:
        by: method that picked the rows that get gradients.
        pool_rows: rows of the pool.
        kept: rows that it picked.
        sampled: random rows among the others, which got gradients too.
        sampled_picked: how many of these were selected in the end.
        picks: rows selected.
        missed: about how many picks would be others, had all rows had gradients: the share of the
            sampled rows that were selected, times the rows screened out.
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
        """Estimate what was missed; with no sampled row nothing is known, and `high` is all.

        Rows sampled and selected are picks already, so what is missed is among the rows that have
        no gradients.
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
        """What to tell a person."""
        with_gradients = self.kept + self.sampled
        text = (
            f"{with_gradients:,} of the {self.pool_rows:,} rows got gradients: {self.kept:,} that "
            f"{self.by} picked and {self.sampled:,} random ones of the others."
        )
        if not self.sampled:
            return text
        return text + (
            f" {self.sampled_picked:,} of the random ones were selected, so about "
            f"{self.missed:,.0f} of the {self.picks:,} picks (95%: {self.low:,.0f} to "
            f"{self.high:,.0f}) would be other rows, had all had gradients."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and the words, JSON-serialisable."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {
            "words": self.words
        }
