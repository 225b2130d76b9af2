"""How one method compares with another: by score, by answer loss, and by both together.

The sentences about a run or comparison (`words`) are built from these findings.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from bids_core.comparison.statistics import LEVEL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bids_core.comparison.compare import Comparison

Measure = Literal["score", "loss"]
Relation = Literal["better", "worse", "mixed", "no better", "unclear"]
"""`mixed`: better by one measure and worse by the other. `no better`: a gain that would matter is
ruled out. `unclear`: better and worse are both possible."""

SCORE_MARGIN: Final = 0.01
"""A gain in score that would matter: one point, about the differences between methods in the
papers."""
LOSS_MARGIN: Final = 0.01
"""Likewise in answer loss, as a share of the other method's."""
FEWEST_ROWS: Final = 6
"""With fewer test rows nothing is ruled out: 2^(1-5) is above 0.05, see
`statistics.Interval.p_value`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The difference between two methods by one measure, averaged over tasks.

    Args:
        measure: `score` (0 to 1, higher is better) or `loss` (answer loss in nats, lower is).
        method: the first method.
        n_rows: rows that the first method was trained on.
        other: the second method.
        other_rows: rows that the second method was trained on; 0 is the base model.
        own: the first method's mean.
        others: the second method's mean.
        value: first minus second.
        low: lower end of the 95% interval of `value`.
        high: upper end.
        p: p-value, adjusted for the number of comparisons.
        tested: number of test rows.
        seeds: number of seeds that both were trained with.
        tells: False if neither score is above the majority score, so that this measure cannot
            decide.
        needed_rows: test rows that would detect a difference as large as this; None if no number
            would.
        needed_seeds: likewise for seeds; None with one seed too.
    """

    measure: Measure
    method: str
    n_rows: int
    other: str
    other_rows: int
    own: float
    others: float
    value: float
    low: float
    high: float
    p: float
    tested: int
    seeds: int
    tells: bool
    needed_rows: int | None
    needed_seeds: int | None

    @property
    def relation(self) -> Relation:
        """How the first method compares with the second by this measure, even if not `tells`."""
        gains = (self.low, self.high) if self.measure == "score" else (-self.high, -self.low)
        gain = self.value if self.measure == "score" else -self.value
        if self.p < LEVEL and gain:
            return "better" if gain > 0 else "worse"
        margin = SCORE_MARGIN if self.measure == "score" else LOSS_MARGIN * abs(self.others)
        small = gains[1] < margin and self.low < self.high and self.tested >= FEWEST_ROWS
        return "no better" if small else "unclear"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        found = {name: _plain(value) for name, value in asdict(self).items()}
        return found | {"relation": self.relation}


def findings(comparison: Comparison, *, family: str) -> list[Finding]:
    """Return what a comparison found about its main method.

    Args:
        comparison: its tables.
        family: `random` (against random selection), or the main method's name (against all).
    """
    frame = comparison.differences
    if frame.empty:
        return []
    rows = frame[
        (frame["family"] == family)
        & (frame["method"] == comparison.main_method)
        & (frame["of"] != "capability")
    ]
    return [_finding(row) for row in rows.to_dict(orient="records")]


def telling(found: Sequence[Finding]) -> list[Finding]:
    """Return the findings whose measure can decide anything here."""
    return [one for one in found if one.tells]


def deciding(found: Sequence[Finding]) -> list[Finding]:
    """Return the findings by which one method is better than the other."""
    return [one for one in telling(found) if one.relation in ("better", "worse")]


def relation(found: Sequence[Finding]) -> Relation:
    """Return how one method compares with another by both measures together.

    Args:
        found: score and answer loss (or one of them) of the same two methods at the same budget.
    """
    kinds = {one.relation for one in telling(found)}
    if kinds >= {"better", "worse"}:
        return "mixed"
    for kind in ("better", "worse"):
        if kind in kinds:
            return "better" if kind == "better" else "worse"
    return "no better" if kinds == {"no better"} else "unclear"


def by_pair(found: Sequence[Finding]) -> dict[tuple[int, str, int], list[Finding]]:
    """Group by the first method's training rows, the other method, and its training rows."""
    grouped: dict[tuple[int, str, int], list[Finding]] = {}
    for one in found:
        grouped.setdefault((one.n_rows, one.other, one.other_rows), []).append(one)
    return dict(sorted(grouped.items(), key=lambda item: item[0][0]))


def _finding(row: Mapping[Any, Any]) -> Finding:
    return Finding(
        measure="loss" if row["of"] == "loss" else "score",
        method=str(row["method"]),
        n_rows=int(row["n_rows"]),
        other=str(row["other"]),
        other_rows=int(row["other_rows"]),
        own=float(row["own"]),
        others=float(row["others"]),
        value=float(row["value"]),
        low=float(row["low"]),
        high=float(row["high"]),
        p=float(row["p_holm"]),
        tested=int(row["n_rows_tested"]),
        seeds=int(row["n_seeds"]),
        tells=bool(row["tells"]),
        needed_rows=_count(row["needed_rows"]),
        needed_seeds=_count(row["needed_seeds"]),
    )


def _count(value: float) -> int | None:
    return None if math.isnan(value) else int(value)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
