"""Showing how far a long step is: one reporter for the process, plain log lines by default."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from bids_core.progress import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bids_core.progress import Progress

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 10.0


class Reporter(Protocol):
    """Shows the steps of a run to a person."""

    def step(self, label: str, unit: str) -> Progress:
        """Begin a step; the returned callback reports (done, total)."""

    def end(self, label: str, *, seconds: float, cached: bool) -> None:
        """End a step."""


class LogReporter:
    """A line of log every ten seconds, with rate and time left."""

    def step(self, label: str, unit: str) -> Progress:
        """Begin a step."""
        logger.info("%s: started", label)
        started = last = time.monotonic()

        def progress(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < _SECONDS_BETWEEN_LINES or not done:
                return
            last = now
            logger.info("%s: %s", label, describe(done, total, unit, now - started))

        return progress

    def end(self, label: str, *, seconds: float, cached: bool) -> None:
        """End a step."""
        how = "cached" if cached else f"finished in {seconds:.1f} s"
        logger.info("%s: %s", label, how)


def describe(done: int, total: int, unit: str, seconds: float) -> str:
    """Return progress in words: `120/400 examples, 6.1/s, 46 s left`."""
    rate = done / max(seconds, 1e-9)
    left = (total - done) / rate if rate else 0.0
    return f"{done}/{total} {unit}, {rate:.1f}/s, {duration(left)} left"


_reporter: Reporter = LogReporter()


@contextmanager
def reporting(reporter: Reporter) -> Iterator[None]:
    """Use another reporter within the block."""
    global _reporter
    previous, _reporter = _reporter, reporter
    try:
        yield
    finally:
        _reporter = previous


def current() -> Reporter:
    """Return the reporter in use."""
    return _reporter
