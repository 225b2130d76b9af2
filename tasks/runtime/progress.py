"""Progress of long steps: one reporter per process, plain log lines by default."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from bids_core.progress import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bids_core.planning.forecast import Work
    from bids_core.progress import Progress

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 10.0


class Reporter(Protocol):
    """Shows the steps of a run to the user."""

    def step(self, label: str, unit: str) -> Progress:
        """Begin a step; the returned callback reports (done, total)."""

    def end(self, label: str, *, seconds: float, cached: bool) -> None:
        """End a step."""


class LogReporter:
    """Logs a line every ten seconds, with rate and time left."""

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


class Together:
    """Shows several steps of one kind as one, so that the time left covers all of them.

    Args:
        shown: the reporter that shows it.
        label: of the combined step.
        unit: what is counted.
        total: work in all steps that are not cached.
    """

    def __init__(self, shown: Reporter, label: str, unit: str, total: int) -> None:
        self._shown, self._label, self._unit, self._total = shown, label, unit, total
        self._whole: Progress | None = None
        self._done = self._within = 0

    def step(self, label: str, unit: str) -> Progress:  # noqa: ARG002 - those of the whole are shown
        """Begin one of the steps."""
        if self._whole is None:
            self._whole = self._shown.step(self._label, self._unit)
        whole = self._whole

        def progress(done: int, total: int) -> None:  # noqa: ARG001 - that of the whole is shown
            self._within = done
            whole(self._done + done, self._total)

        return progress

    def end(self, label: str, *, seconds: float, cached: bool) -> None:
        """End one of the steps."""
        if cached:
            self._shown.end(label, seconds=seconds, cached=True)
            return
        self._done += self._within
        if self._done >= self._total:
            self._shown.end(self._label, seconds=seconds, cached=False)


class AsOne:
    """Shows all steps inside it as one step, for as long as they last.

    Args:
        shown: the reporter that shows it.
        label: of the combined step.
    """

    def __init__(self, shown: Reporter, label: str) -> None:
        self._shown, self._label = shown, label
        self._whole: Progress | None = None
        self._before = self._total = 0
        self._started = time.perf_counter()

    def step(self, label: str, unit: str) -> Progress:  # noqa: ARG002 - that of the whole is shown
        """Begin one of the steps; its progress is added to that of the steps before it."""
        if self._whole is None:
            self._whole = self._shown.step(self._label, unit)
        whole = self._whole
        self._before, self._total = self._before + self._total, 0

        def progress(done: int, total: int) -> None:
            self._total = total
            whole(self._before + done, self._before + total)

        return progress

    def end(self, label: str, *, seconds: float, cached: bool) -> None:
        """End one of the steps."""

    def finish(self) -> None:
        """End the combined step."""
        seconds = time.perf_counter() - self._started
        self._shown.end(self._label, seconds=seconds, cached=self._whole is None)


def describe(done: int, total: int, unit: str, seconds: float) -> str:
    """Return progress in words: `120/400 examples, 6.1/s, 46 s left`."""
    rate = done / max(seconds, 1e-9)
    left = (total - done) / rate if rate else 0.0
    return f"{done}/{total} {unit}, {rate:.1f}/s, {duration(left)} left"


_reporter: Reporter = LogReporter()


def expect(work: Work) -> None:
    """Tell the reporter the work of the run, if it estimates the time of the whole run.

    Such a reporter has a method `expect(work)`.
    """
    take = getattr(_reporter, "expect", None)
    if take is not None:
        take(work)


@contextmanager
def reporting(reporter: Reporter) -> Iterator[None]:
    """Use another reporter inside the block; if it has a `stop`, it is called at the end."""
    global _reporter
    previous, _reporter = _reporter, reporter
    try:
        yield
    finally:
        _reporter = previous
        stop = getattr(reporter, "stop", None)
        if stop is not None:
            stop()


def current() -> Reporter:
    """Return the reporter in use."""
    return _reporter
