"""Progress of long steps: a callback; the command line and the tasks decide how to show it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A callback for progress; called often, so it must be cheap."""

    def __call__(self, done: int, total: int) -> None:
        """Report that `done` of `total` examples are finished."""


def silent(done: int, total: int) -> None:
    """Report nothing."""


def duration(seconds: float) -> str:
    """Format a time for people: 0.4 s, 12 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
