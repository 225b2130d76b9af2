"""The verdict of a run or a comparison: does the selection pay off, and by which measure?

Score and held-out answer loss both count, each by its paired difference from random selection. The
score does not count if neither method beats always giving the most frequent answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from bids_core.comparison import words
from bids_core.comparison.findings import by_pair, deciding, findings, relation
from bids_core.comparison.results import RANDOM
from bids_core.selection.names import ZERO_SHOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.comparison.compare import Comparison
    from bids_core.comparison.findings import Finding, Measure


class Badge(StrEnum):
    """The verdict in a few words."""

    BETTER = "better"
    """Significantly better than random selection, by a measure that can decide."""
    UNCLEAR = "cannot tell"
    """Better and worse are both possible, or the measures (or budgets) disagree."""
    NO_BETTER = "no better than random"
    """Worse than random selection, or a gain that would matter is ruled out."""
    WORSE_THAN_BASE = "worse than the base model"
    """Training on the selection made the model worse."""


@dataclass(frozen=True)
class Verdict:
    """The verdict, for people and for programs.

    Args:
        badge: the verdict in a few words.
        by: the measures that support it; none if it is unclear.
        sentences: the verdict in full; the first one stands on its own.
        findings: the main method's differences from every other, by both measures.
        floor: macro average of always giving the most frequent answer.
        command: the comparison that would settle more; None if there is nothing to compare.
        advice: the sentence that says what would settle more; empty if there is none.
        ahead: the sentences on other methods that are better than the main one.
    """

    badge: Badge
    by: tuple[Measure, ...]
    sentences: tuple[str, ...]
    findings: tuple[Finding, ...]
    floor: float
    command: str | None
    advice: str = ""
    ahead: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The badge with the measures: `better (by held-out answer loss)`."""
        named = [words.MEASURES[measure] for measure in self.by]
        return f"{self.badge} (by {' and '.join(named)})" if named else str(self.badge)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "badge": str(self.badge),
            "by": list(self.by),
            "label": self.label,
            "sentences": list(self.sentences),
            "findings": [one.to_dict() for one in self.findings],
            "majority": self.floor,
            "command": self.command,
        }


def judge(comparison: Comparison, *, failed: int = 0) -> Verdict:
    """Return the verdict on a run's or a comparison's main method.

    Args:
        comparison: its tables.
        failed: cells that did not finish.
    """
    main = comparison.main_method
    against_random = [] if main == RANDOM else findings(comparison, family=RANDOM)
    against_all = findings(comparison, family=main)
    against_base = [one for one in against_all if one.other == ZERO_SHOT]
    badge, by = _badge(against_random, against_base)
    command = _command(main, against_random)
    advice = words.advice(against_random, command or "")
    said = [
        words.lead(main, against_random, comparison),
        words.majority(against_random, comparison),
        *words.others(main, against_all),
        words.worst(main, against_random, comparison),
        words.base(main, against_all),
        advice,
        words.basis(comparison),
        words.missing(failed),
    ]
    return Verdict(
        badge=badge,
        by=by,
        sentences=tuple(sentence for sentence in said if sentence),
        findings=(*against_random, *(one for one in against_all if one.other != RANDOM)),
        floor=comparison.floor,
        command=command,
        advice=advice,
        ahead=tuple(words.ahead(against_all)),
    )


def _badge(
    against_random: Sequence[Finding], against_base: Sequence[Finding]
) -> tuple[Badge, tuple[Measure, ...]]:
    to_base = {relation(pair) for pair in by_pair(against_base).values()}
    if "worse" in to_base and not to_base & {"better", "mixed"}:
        return Badge.WORSE_THAN_BASE, _measures(against_base, "worse")
    to_random = {relation(pair) for pair in by_pair(against_random).values()}
    if "mixed" in to_random or to_random >= {"better", "worse"}:
        return Badge.UNCLEAR, ()
    if "better" in to_random:
        return Badge.BETTER, _measures(against_random, "better")
    if "worse" in to_random:
        return Badge.NO_BETTER, _measures(against_random, "worse")
    return (Badge.NO_BETTER if to_random == {"no better"} else Badge.UNCLEAR), ()


def _measures(found: Sequence[Finding], kind: str) -> tuple[Measure, ...]:
    named = {one.measure for one in deciding(found) if one.relation == kind}
    order: tuple[Measure, ...] = ("score", "loss")
    return tuple(measure for measure in order if measure in named)


def _command(main: str, against_random: Sequence[Finding]) -> str | None:
    """Return the command to compare these two alone, with at least three seeds."""
    if not against_random:
        return None
    budgets = ",".join(str(n) for n in sorted({one.n_rows for one in against_random}))
    seeds = max(3, *(_seeds(one) for one in against_random))
    listed = ",".join(str(seed) for seed in range(seeds))
    return f"bids compare CONFIG --methods {main},{RANDOM} --budgets {budgets} --seeds {listed}"


def _seeds(one: Finding) -> int:
    """Return how many seeds the next comparison should have: as many as needed, at most ten."""
    return min(one.needed_seeds or one.seeds, 10) if one.seeds > 1 else 3
