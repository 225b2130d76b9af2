"""Sends the library's log to the log of the flow run in which it runs."""

from __future__ import annotations

import logging
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from prefect.exceptions import MissingContextError
from prefect.logging.handlers import APILogHandler
from prefect.runtime import flow_run
from prefect.settings import get_current_settings

from bids_core import errors
from bids_core.errors import BidsError
from tasks.runtime.progress import LogReporter, current, reporting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bids_core.planning.forecast import Work
    from bids_core.progress import Progress
    from tasks.runtime.progress import Reporter

_FAILED: Final = re.compile(r"^Finished in state Failed\(.*? encountered an exception:? (\w+): ")
"""Prefect's log messages for a task or flow run that raised."""
_LOGGERS: Final = ("bids_core", "tasks", "flows")


def on_server() -> bool:
    """Return whether runs are recorded by a permanent server (not the temporary local one)."""
    return get_current_settings().api.url is not None


@contextmanager
def run_logs() -> Iterator[None]:
    """Send the library's log, including INFO, and the progress of its steps to the run's log.

    Only with a permanent server; the terminal output does not change.
    """
    if not on_server():
        yield
        return
    handler = _RunLogHandler(flow_run.get_id())
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    terminal = [(shown, shown.level) for shown in logging.getLogger().handlers]
    for shown, level in terminal:
        shown.setLevel(max(level, loggers[0].getEffectiveLevel()))
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        with reporting(_Both(current())):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
        for shown, level in terminal:
            shown.setLevel(level)


def mistakes_in_one_line() -> None:
    """Make a run that ends with a BIDS error log its message, without Prefect's traceback.

    Without a server that keeps the log, the caller of the flow reports the error, so Prefect drops
    it: once is enough. Applies from now on in this process; calling it again changes nothing.
    """
    logging.getLogger("prefect.flow_runs").addFilter(_message_alone)
    logging.getLogger("prefect.task_runs").addFilter(_message_alone)


def _message_alone(record: logging.LogRecord) -> bool:
    """Remove the traceback from a record of a BIDS error, or drop the record."""
    error = record.exc_info[1] if record.exc_info else None
    ours = isinstance(error, BidsError) or _is_end_of_ours(record)
    if ours and not on_server() and not os.environ.get("BIDS_VERBOSE"):
        return False
    if isinstance(error, BidsError):
        record.msg, record.args = "%s", (str(error),)
        record.exc_info = record.exc_text = None
    return True


def _is_end_of_ours(record: logging.LogRecord) -> bool:
    """Return whether the record is Prefect's report of a run that ended with a BIDS error."""
    found = _FAILED.search(record.getMessage())
    return found is not None and isinstance(getattr(errors, found[1], None), type)


class _RunLogHandler(APILogHandler):
    """Holds its flow run, so that threads without a run context can log too."""

    def __init__(self, flow_run_id: str | None) -> None:
        super().__init__(logging.INFO)
        self._flow_run_id = flow_run_id

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record to the server, in the background."""
        from prefect.context import get_run_context

        try:
            get_run_context()
        except MissingContextError:
            record.flow_run_id = self._flow_run_id
        super().emit(record)


class _Both:
    """Shows steps where they were shown before and in the log."""

    def __init__(self, shown: Reporter) -> None:
        self._shown = None if isinstance(shown, LogReporter | _Both) else shown
        self._log = LogReporter()

    def expect(self, work: Work) -> None:
        """Pass on the work of the run."""
        expect = getattr(self._shown, "expect", None)
        if expect is not None:
            expect(work)

    def step(self, label: str, unit: str) -> Progress:
        """Begin a step."""
        log = self._log.step(label, unit)
        shown = None if self._shown is None else self._shown.step(label, unit)

        def progress(done: int, total: int) -> None:
            log(done, total)
            if shown is not None:
                shown(done, total)

        return progress

    def end(self, label: str, *, seconds: float, cached: bool) -> None:
        """End a step."""
        self._log.end(label, seconds=seconds, cached=cached)
        if self._shown is not None:
            self._shown.end(label, seconds=seconds, cached=cached)
