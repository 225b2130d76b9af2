"""When handed-out work counts as lost, and when it is given up.

Nothing in here asks a server, a store or the time: what was seen comes in, and so does the clock.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

START_SECONDS: Final = 120.0  # a process that starts shows nothing until its first artifact
_LOOKS: Final = 4  # within the time after which a worker counts as lost


class Phase(Enum):
    """Where a flow run is, as far as its liveness goes."""

    QUEUED = "queued"
    """Nobody has taken it yet; it may stay so for as long as it likes."""
    ACTIVE = "active"
    """A worker has it: starts it, runs it, or is ending it after a cancel."""
    ENDED = "ended"
    """Completed, failed, crashed or cancelled."""


class Verdict(Enum):
    """What to do about work that is out."""

    WAIT = "wait"
    ENDED = "ended"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the server says of a flow run.

    Args:
        phase: where it is.
        mark: changes whenever its state changes.
    """

    phase: Phase
    mark: Hashable


@dataclass
class Liveness:
    """Follows one piece of work through the attempts to have it done.

    An attempt is alive as long as anything changes: the state of its flow run, the artifacts that
    it has left, the locks that it holds. Until the first change of artifacts and locks it is given
    `START_SECONDS` more. A lock that is there at the first look proves nothing: its holder may be
    long lost.

    Args:
        lost_after: seconds without a change after which a worker counts as lost.
        attempts: how often the work may be handed out.
        clock: seconds, from any start, never going back.
    """

    lost_after: float
    attempts: int
    clock: Callable[[], float] = time.monotonic
    attempt: int = field(default=0, init=False)
    _sign: Hashable = field(default=None, init=False)
    _since: float = field(default=0.0, init=False)
    _looked: float = field(default=0.0, init=False)
    _first: Hashable = field(default=None, init=False)
    _working: bool = field(default=False, init=False)

    @property
    def is_exhausted(self) -> bool:
        """Whether it has been handed out as often as it may be."""
        return self.attempt >= self.attempts

    def begin_attempt(self) -> None:
        """Hear that the work was handed out (again)."""
        self.attempt += 1
        self._sign = self._first = None
        self._working = False
        self._since, self._looked = self.clock(), -float("inf")

    def judge(self, seen: Sighting | None, look: Callable[[], Hashable]) -> Verdict:
        """Tell how an attempt is doing.

        Args:
            seen: what the server says; None while it is away, which proves nothing.
            look: returns what changes while work continues: artifacts and locks. It costs
                requests, and is called `_LOOKS` times within `lost_after` at the most.
        """
        if seen is None:
            return Verdict.WAIT
        if seen.phase is Phase.ENDED:
            return Verdict.ENDED
        now = self.clock()
        if seen.phase is Phase.QUEUED:
            self._sign, self._since = seen.mark, now
            return Verdict.WAIT
        if now - self._looked < self.lost_after / _LOOKS:
            return Verdict.WAIT
        self._looked = now
        work = look()
        if self._first is None:
            self._first = work
        self._working = self._working or work != self._first
        if (seen.mark, work) != self._sign:
            self._sign, self._since = (seen.mark, work), now
        allowed = self.lost_after + (0.0 if self._working else START_SECONDS)
        return Verdict.LOST if now - self._since > allowed else Verdict.WAIT
