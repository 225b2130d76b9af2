"""How long steps tell what they have done; the command line and the tasks decide how to show it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as work proceeds; may be called often, so it must be cheap."""

    def __call__(self, done: int, total: int) -> None:
        """Report that `done` of `total` examples are finished."""


def silent(done: int, total: int) -> None:
    """Report nothing."""
