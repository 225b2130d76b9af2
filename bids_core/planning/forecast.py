"""How long a run will still take: the cost model's work, at the speed measured during the run.

Work is counted in tokens of one training pass. A step's seconds per token are taken from earlier
steps of its kind or, until there are any, from all steps together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_LEAST_SECONDS: Final = 3.0
"""Steps of a kind count as measured after this many seconds: the first ones are loading."""


@dataclass(frozen=True, slots=True)
class Work:
    """The work of a run.

    Args:
        tokens: of each step whose time scales with its tokens, by the step's label.
        seconds: of each other step.
        beyond: in words, further work that has no estimate; blank if there is none.
        groups: steps shown as one: label -> (label of the group, how many units of its progress the
            step is).
        tokens_per_second: speed measured beforehand, used until steps have been measured.
    """

    tokens: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    beyond: str = ""
    groups: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    tokens_per_second: float | None = None


@dataclass(slots=True)
class _Measured:
    tokens: float = 0.0
    seconds: float = 0.0


class Forecast:
    """The time left in a run, from its work and what has been done.

    Args:
        work: of the run.
    """

    def __init__(self, work: Work) -> None:
        self.beyond, self._planned = work.beyond, work.tokens_per_second
        self._tokens, self._fixed = dict(work.tokens), dict(work.seconds)
        self._measured: dict[str, _Measured] = {}
        self._running: dict[str, tuple[float, float]] = {}

    def advance(self, label: str, *, share: float, seconds: float) -> None:
        """Record that a share of a step was done after this many seconds."""
        if label in self._tokens:
            self._running[label] = (share, seconds)

    def finish(self, label: str, *, seconds: float, cached: bool) -> None:
        """Record that a step is finished; a cached one says nothing about the speed."""
        self._running.pop(label, None)
        tokens = self._tokens.pop(label, None)
        self._fixed.pop(label, None)
        if tokens is not None and not cached:
            measured = self._measured.setdefault(_kind(label), _Measured())
            measured.tokens += tokens
            measured.seconds += seconds

    def seconds_left(self) -> float | None:
        """Return the seconds left; None while no speed is known."""
        measured = {kind: _Measured(m.tokens, m.seconds) for kind, m in self._measured.items()}
        for label, (share, seconds) in self._running.items():
            kind = measured.setdefault(_kind(label), _Measured())
            kind.tokens += share * self._tokens[label]
            kind.seconds += seconds
        known = {
            kind: m.seconds / m.tokens
            for kind, m in measured.items()
            if m.tokens and m.seconds >= _LEAST_SECONDS
        }
        if known:
            total = [measured[kind] for kind in known]
            overall = sum(m.seconds for m in total) / sum(m.tokens for m in total)
        elif self._planned is not None:
            overall = 1 / self._planned
        else:
            return None
        left = sum(self._fixed.values())
        for label, tokens in self._tokens.items():
            share = self._running.get(label, (0.0, 0.0))[0]
            left += (1 - share) * tokens * known.get(_kind(label), overall)
        return left


def about(seconds: float) -> str:
    """Return a time as an estimate: about 40 s, about 12 min, about 2 h 20 min."""
    if seconds < 90:
        return f"about {max(10, 10 * round(seconds / 10))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"about {minutes} min"
    tens = 10 * round(minutes / 10)
    return f"about {tens // 60} h {tens % 60:02d} min"


def _kind(label: str) -> str:
    return label.split(" ")[0]
