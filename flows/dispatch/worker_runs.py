"""Flow runs of one deployment on the Prefect server: start, observe and end them.

A server that is temporarily unreachable is not an error here: the call returns None, the log says
why, and the caller continues.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx
from prefect.client.schemas.objects import FlowRun, State, StateType, WorkerStatus
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Cancelling, Crashed

from bids_core.artifacts.failures import Failure
from bids_core.errors import ConfigError
from flows.dispatch.liveness import Phase, Sighting

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient

T = TypeVar("T")

logger = logging.getLogger(__name__)

FAILURE_LABEL: Final = "bids.failure"
LOST: Final = "its worker showed no sign of life and counts as lost"
_ACTIVE: Final = (StateType.RUNNING, StateType.PENDING, StateType.CANCELLING)


@dataclass(frozen=True, slots=True)
class Started:
    """A flow run for a parcel, new or found by its idempotency key.

    Args:
        run_id: of the flow run.
        is_final: whether it is an earlier run of the same work that has ended.
    """

    run_id: UUID
    is_final: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """The server's report on a flow run.

    Args:
        sighting: for its liveness.
        words: its state and the reason, in full.
        failure: its error, if it could not leave that in the store.
    """

    sighting: Sighting
    words: str
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Places:
    """How many flow runs a pool has room for.

    Args:
        running: its concurrency limit, or the number of its online workers.
        online: number of online workers.
    """

    running: int
    online: int


class WorkerRuns:
    """Flow runs of a deployment.

    Args:
        client: of the server.
        deployment: `flow/name`.

    Raises:
        ConfigError: there is no such deployment.
    """

    def __init__(self, client: SyncPrefectClient, deployment: str) -> None:
        self._client = client
        self.deployment = deployment
        try:
            self.pool = client.read_deployment_by_name(deployment).work_pool_name
        except ObjectNotFound as error:
            msg = (
                f"execution: the server has no deployment {deployment}; run `bids deploy`, or set "
                "execution.gradients and execution.training to inline"
            )
            raise ConfigError(msg) from error

    def start(self, name: str, parameters: dict[str, Any], *, key: str) -> Started | None:
        """Start a flow run, or take the one started with the same key.

        Raises:
            ConfigError: the deployment refuses the parameters.
        """
        run = _asked(lambda: self._start(name, parameters, key))
        if run is None:
            return None
        logger.debug("%s is %s", name, run.name)
        return Started(run.id, run.state is not None and run.state.is_final())

    def see(self, run_id: UUID) -> Seen | None:
        """Return the server's report on a flow run."""
        run = _asked(lambda: self._client.read_flow_run(run_id))
        if run is None or run.state is None:
            return None
        told = run.labels.get(FAILURE_LABEL)
        failure = Failure.from_json(told) if isinstance(told, str) else None
        return Seen(Sighting(_phase(run.state), run.state.id), _words(run.state), failure)

    def count_as_lost(self, run_id: UUID) -> None:
        """Mark a flow run as Crashed if its worker will not do so."""
        lost: State[Any] = Crashed(message=LOST)
        _asked(lambda: self._client.set_flow_run_state(run_id, lost, force=True))

    def cancel(self, run_id: UUID) -> None:
        """Ask a flow run's worker to cancel it."""
        _asked(lambda: self._client.set_flow_run_state(run_id, Cancelling()))

    def places(self) -> Places | None:
        """Return how many flow runs the pool has room for; None also if there is no pool."""
        if self.pool is None:
            return None
        name = self.pool
        pool = _asked(lambda: self._client.read_work_pool(name))
        workers = _asked(lambda: self._client.read_workers_for_work_pool(name))
        if pool is None or workers is None:
            return None
        online = sum(worker.status == WorkerStatus.ONLINE for worker in workers)
        return Places(max(1, pool.concurrency_limit or online), online)

    def _start(self, name: str, parameters: dict[str, Any], key: str) -> FlowRun:
        try:
            run = run_deployment(
                self.deployment,
                parameters=parameters,
                flow_run_name=name,
                timeout=0,
                idempotency_key=key,
            )
        except PrefectHTTPStatusError as error:
            if error.response.status_code != httpx.codes.CONFLICT:
                raise
            msg = (
                f"the deployment {self.deployment} refuses this run's parameters; was it made by "
                f"another version? Run `bids deploy` again ({error.response.text.strip()})"
            )
            raise ConfigError(msg) from error
        assert isinstance(run, FlowRun)  # noqa: S101 - a coroutine only in async callers
        return run


def _asked(request: Callable[[], T]) -> T | None:
    """Ask the server; None if it is temporarily unreachable."""
    try:
        return request()
    except httpx.TransportError as error:
        logger.warning("the Prefect server does not answer (%s); continuing", type(error).__name__)
    except PrefectHTTPStatusError as error:
        if error.response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
            raise
        logger.warning("the Prefect server reports an error (%s); continuing", error)
    return None


def _phase(state: State[Any]) -> Phase:
    if state.is_final():
        return Phase.ENDED
    return Phase.ACTIVE if state.type in _ACTIVE else Phase.QUEUED


def _words(state: State[Any]) -> str:
    message = (state.message or "").strip()
    return f"{(state.name or state.type.value).lower()}{': ' + message if message else ''}"
