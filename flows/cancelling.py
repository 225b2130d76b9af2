"""A run watches its own state on the server: it stops if cancelled, and objects if declared lost.

Prefect (3.8.8) leaves both to the worker. That is not enough:

- once the server has been unreachable for half a minute, a worker stops looking for runs to cancel;
- when the run's process is gone, a worker imports the flow again to look for hooks before the run
  becomes Cancelled, which takes seconds of CPU per run.

So a run of a deployment polls its own state, and stops when that is Cancelling. It reports
Cancelled as soon as its work has stopped, whoever stopped it.

A server that was down for longer than a run may go without a heartbeat declares all runs lost in
its first seconds after it is back. A run that is still alive sees that it was marked Crashed for a
missing heartbeat, and marks itself Running again before the automation for crashed runs starts it a
second time.
"""

from __future__ import annotations

import logging
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.exceptions import Abort, ObjectNotFound, PrefectHTTPStatusError, TerminationSignal
from prefect.runtime import deployment, flow_run
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled, Running

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

NO_HEARTBEAT: Final = "no heartbeat: its worker or machine is gone"  # set by the automation
POLL_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 30.0  # the time that Prefect gives a run to clean up
_AT_ONCE: Final = {PREFECT_CLIENT_MAX_RETRIES: 0}  # else up to a minute's sleep after an outage
_LIVES: Final = "still running: the server was unreachable, or the run was suspended"
_STOPPED: Final = "stopped; start it again to continue from what is in the store"


class RunCancelledError(Abort):
    """The server cancelled this run. Prefect lets this error end the process, no more."""


@contextmanager
def cancellable() -> Iterator[None]:
    """Stop the block's work when this flow run is cancelled on the server.

    Only in deployment runs, in the main thread: a run from a terminal has Ctrl-C.

    Raises:
        RunCancelledError: it was cancelled, and the worker did not stop it first.
    """
    if deployment.id is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    watch = _CancelWatch(UUID(flow_run.id))
    before = signal.signal(signal.SIGUSR1, _stop)
    watch.start()
    try:
        yield
    except (TerminationSignal, RunCancelledError):
        watch.end()
        _say_cancelled(watch.run_id)
        raise
    finally:
        watch.end()
        signal.signal(signal.SIGUSR1, before)


class _CancelWatch(threading.Thread):
    """Polls the run's state until ended; interrupts the main thread."""

    def __init__(self, run_id: UUID) -> None:
        super().__init__(name="bids-cancelling", daemon=True)
        self.run_id = run_id
        self._ended = threading.Event()
        self._interrupting = threading.Lock()

    def run(self) -> None:
        pause = 0.0
        with temporary_settings(_AT_ONCE), get_client(sync_client=True) as client:
            while not self._ended.wait(pause):
                pause = POLL_SECONDS
                try:
                    cancelled = _look(client, self.run_id)
                except ObjectNotFound:
                    return  # deleted: nothing left to cancel
                except (httpx.TransportError, PrefectHTTPStatusError) as error:
                    logger.debug("cannot ask the server whether this run was cancelled: %s", error)
                    continue
                if cancelled:
                    self._interrupt()
                    pause = _AGAIN_SECONDS

    def end(self) -> None:
        """Stop interrupting."""
        with self._interrupting:
            self._ended.set()

    def _interrupt(self) -> None:
        main = threading.main_thread().ident
        with self._interrupting:
            if not self._ended.is_set() and main is not None:
                signal.pthread_kill(main, signal.SIGUSR1)


def _stop(*_: object) -> NoReturn:
    msg = "cancelled on the server"
    raise RunCancelledError(msg)


def _look(client: SyncPrefectClient, run_id: UUID) -> bool:
    """Return whether the run is cancelled; if it was declared lost, mark it Running again."""
    state = client.read_flow_run(run_id).state
    if state is None:
        return False
    if state.type == StateType.CRASHED and state.message == NO_HEARTBEAT:
        client.set_flow_run_state(run_id, Running(message=_LIVES), force=True)
        logger.warning("the server declared this run lost; it is still running and continues")
    return state.type in (StateType.CANCELLING, StateType.CANCELLED)


def _say_cancelled(run_id: UUID) -> None:
    """Mark a run that is Cancelling as Cancelled; any other final state is not ours to set."""
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run_id).state
            if state is not None and state.type == StateType.CANCELLING:
                client.set_flow_run_state(run_id, Cancelled(message=_STOPPED), force=True)
    except (httpx.TransportError, PrefectHTTPStatusError, ObjectNotFound) as error:
        logger.warning("stopped, but could not tell the server (%s); the worker will do so", error)
