"""When handed-out work counts as lost, and when it is given up.

Nothing in this module queries a server, a store or the time: observations and the clock are passed
in.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

START_SECONDS: Final = 120.0  # a starting process shows nothing until its first artifact
_LOOKS: Final = 4  # looks within the time after which a worker counts as lost


class Phase(Enum):
    """The phase of a flow run, as far as liveness is concerned."""

    QUEUED = "queued"
    """No worker has taken it yet; it may wait as long as necessary."""
    ACTIVE = "active"
    """A worker has it: it is starting, running, or stopping after being cancelled."""
    ENDED = "ended"
    """Completed, failed, crashed or cancelled."""


class Verdict(Enum):
    """What to do about work that was handed out."""

    WAIT = "wait"
    ENDED = "ended"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Sighting:
    """The server's view of a flow run.

    Args:
        phase: of the run.
        mark: changes whenever its state changes.
    """

    phase: Phase
    mark: Hashable


@dataclass
class Liveness:
    """Follows one piece of work through the attempts to get it done.

    An attempt is alive as long as anything changes: the state of its flow run, its artifacts, its
    locks. Until the first change of artifacts or locks it gets `START_SECONDS` more. A lock that
    exists at the first look proves nothing: its holder may be long gone.

    Args:
        lost_after: seconds without a change after which a worker counts as lost.
        attempts: how often the work may be handed out.
        clock: returns seconds from any starting point, never decreasing.
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
        """Whether it has been handed out as often as allowed."""
        return self.attempt >= self.attempts

    def begin_attempt(self) -> None:
        """Record that the work was handed out (again)."""
        self.attempt += 1
        self._sign = self._first = None
        self._working = False
        self._since, self._looked = self.clock(), -float("inf")

    def judge(self, seen: Sighting | None, look: Callable[[], Hashable]) -> Verdict:
        """Return what to do about the current attempt.

        Args:
            seen: what the server reports; None while it is away, which proves nothing.
            look: returns what changes while work continues: artifacts and locks. It costs requests,
                so it is called at most `_LOOKS` times within `lost_after`.
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
