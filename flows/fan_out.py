"""Handing work to the workers of a deployment, until the store holds all of it.

The store is the truth: work is done when its artifacts are there and whole, whatever a flow run
says of itself. A flow run that crashed, was cancelled or failed in passing, or whose worker gives
no sign of life (no new artifact, no change of its artifact's lock, no change of state) is handed
out again, a bounded number of times. Two parents that hand out the same work get the same flow run
through its idempotency key; where their groups differ, the locks of the store keep the work single.

A parent that is cancelled or killed by a signal cancels the flow runs that it waits for.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State, StateType, WorkerStatus
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Cancelling, Crashed

from bids_core import errors
from bids_core.artifacts import ArtifactStore, Handle
from bids_core.errors import BidsError, ConfigError, WorkerError

if TYPE_CHECKING:
    from uuid import UUID

    from bids_core.config import ExecutionConfig

T = TypeVar("T")

logger = logging.getLogger(__name__)

_SLOTS_SECONDS: Final = 30.0  # workers come and go: between two looks at the pool
_WARN_SECONDS: Final = 60.0
_START_SECONDS: Final = 120.0  # a process that starts shows nothing until its first shard
_RAISED: Final = re.compile(r"exception: (\w+): (.*)", re.DOTALL)


@dataclass(frozen=True)
class Item:
    """One artifact that is wanted, and what a worker needs to know to make it."""

    handle: Handle
    value: Any


@dataclass(frozen=True)
class Parcel:
    """Work for one flow run.

    Args:
        label: name of the flow run.
        items: the artifacts that it leaves in the store.
        parameters: of the flow, made from the items.
    """

    label: str
    items: tuple[Item, ...]
    parameters: Callable[[tuple[Item, ...]], dict[str, Any]]

    def without(self, done: set[str]) -> Parcel:
        """Return what is left of it."""
        left = tuple(item for item in self.items if item.handle.key not in done)
        return Parcel(self.label, left, self.parameters)


class ParcelSource(Protocol):
    """Where parcels come from."""

    def next_parcel(self, slots: int) -> Parcel | None:
        """Return the next parcel, given how many may be in flight; None if there is no more."""

    def done(self, item: Item) -> None:
        """Hear that an artifact is in the store."""

    def failed(self, parcel: Parcel, error: BidsError) -> None:
        """Hear that what is left of a parcel will not be done; raising it stops everything."""


@dataclass
class _Sent:
    """A parcel in flight."""

    parcel: Parcel
    run_id: UUID
    attempt: int
    serial: int
    sign: object = None
    since: float = field(default_factory=time.monotonic)
    looked: float = -float("inf")
    first: object = None
    working: bool = False
    held: set[str] = field(default_factory=set)


def hand_out(
    source: ParcelSource, deployment: str, execution: ExecutionConfig, store: ArtifactStore
) -> None:
    """Hand out parcels until the source has no more and all of them are done.

    Args:
        source: of the parcels.
        deployment: `flow/name` of the deployment whose flow takes the parcels' parameters.
        execution: how many at once, how often again, when a worker is lost.
        store: where the artifacts appear.

    Raises:
        ConfigError: there is no such deployment.
        WorkerError: a parcel was handed out as often as allowed, and is not done.
        BidsError: what a worker says can not pass (a mistake in data or configuration, a NaN).
            Both only where the source's `failed` raises them.
    """
    with get_client(sync_client=True) as client:
        _Dispatch(client, source, deployment, execution, store).run()


class _Dispatch:
    def __init__(
        self,
        client: SyncPrefectClient,
        source: ParcelSource,
        deployment: str,
        execution: ExecutionConfig,
        store: ArtifactStore,
    ) -> None:
        self._client = client
        self._source = source
        self._name = deployment
        self._execution = execution
        self._store = store
        self._sent: list[_Sent] = []
        self._slots = 1
        self._slots_read = self._warned = -float("inf")
        try:
            self._pool = client.read_deployment_by_name(deployment).work_pool_name
        except ObjectNotFound as error:
            msg = (
                f"execution: the server has no deployment {deployment}; run `bids deploy`, or set "
                "execution.gradients and execution.training to inline"
            )
            raise ConfigError(msg) from error

    def run(self) -> None:
        """Send, look and wait until all is done."""
        try:
            while True:
                self._read_slots()
                while len(self._sent) < self._slots:
                    parcel = self._source.next_parcel(self._slots)
                    if parcel is None:
                        break
                    self._send(parcel, attempt=1, serial=0)
                if not self._sent:
                    return
                time.sleep(self._execution.poll_seconds)
                for sent in list(self._sent):
                    self._look_after(sent)
        except BaseException:
            self._cancel_all()
            raise

    def _read_slots(self) -> None:
        """Find out how many flow runs may be in flight: one runs and one waits on each worker."""
        if time.monotonic() - self._slots_read < _SLOTS_SECONDS:
            return
        self._slots_read = time.monotonic()
        if self._execution.parallel is not None or self._pool is None:
            self._slots = self._execution.parallel or 1
            return
        pool, name = None, self._pool
        pool = _asked(lambda: self._client.read_work_pool(name))
        workers = _asked(lambda: self._client.read_workers_for_work_pool(name))
        if pool is None or workers is None:
            return  # the server is away: as before
        online = sum(worker.status == WorkerStatus.ONLINE for worker in workers)
        if not online and time.monotonic() - self._warned > _WARN_SECONDS:
            self._warned = time.monotonic()
            logger.warning(
                "no worker of pool %s is online; start one: prefect worker start --pool %s",
                name, name,
            )  # fmt: skip
        self._slots = 2 * max(1, pool.concurrency_limit or online)

    def _send(self, parcel: Parcel, *, attempt: int, serial: int) -> None:
        """Start a flow run for a parcel; one that is under way for the same work is taken."""
        keys = " ".join(sorted(item.handle.key for item in parcel.items))
        while True:
            digest = hashlib.sha256(
                f"{self._store.url} {self._name} {serial} {keys}".encode()
            ).hexdigest()
            run = _asked(lambda key=digest: self._start(parcel, key))  # type: ignore[misc]
            if run is None:
                time.sleep(self._execution.poll_seconds)
            elif run.state is not None and run.state.is_final():
                serial += 1  # an earlier run of the same work, whose result is gone since
            else:
                break
        logger.info("%s: handed to %s as %s", parcel.label, self._name, run.name)
        self._sent.append(_Sent(parcel, run.id, attempt, serial))

    def _start(self, parcel: Parcel, key: str) -> FlowRun:
        try:
            run = run_deployment(
                self._name,
                parameters=parcel.parameters(parcel.items),
                flow_run_name=parcel.label,
                timeout=0,
                idempotency_key=key,
            )
        except PrefectHTTPStatusError as error:
            if error.response.status_code != httpx.codes.CONFLICT:
                raise
            msg = (
                f"the deployment {self._name} refuses this run's parameters; was it made by "
                f"another version? Run `bids deploy` again ({error.response.text.strip()})"
            )
            raise ConfigError(msg) from error
        assert isinstance(run, FlowRun)  # noqa: S101 - a coroutine only in async callers
        return run

    def _look_after(self, sent: _Sent) -> None:
        """See how a parcel is doing: done, under way, or to be handed out again."""
        if self._is_done(sent):
            self._sent.remove(sent)
            return
        run = _asked(lambda: self._client.read_flow_run(sent.run_id))
        if run is None or run.state is None:
            return  # the server is away: the worker goes on, and the store shows it
        if run.state.is_final():
            self._is_done(sent)  # it may have ended since
            self._again(sent, run.state)
        elif self._is_lost(sent, run.state):
            lost: State[Any] = Crashed(message="its worker gave no sign of life and counts as lost")
            _asked(lambda: self._client.set_flow_run_state(sent.run_id, lost, force=True))
            self._again(sent, lost)

    def _is_done(self, sent: _Sent) -> bool:
        """Note what has appeared in the store, whole; tell whether that is all of it."""
        for item in sent.parcel.items:
            handle = item.handle
            if handle.key in sent.held or not self._store.holds(handle):
                continue
            if self._store.find(handle.stage, handle.fingerprint) is not None:
                sent.held.add(handle.key)
                self._source.done(item)
        return len(sent.held) == len(sent.parcel.items)

    def _is_lost(self, sent: _Sent, state: State[Any]) -> bool:
        if state.type not in (StateType.RUNNING, StateType.PENDING, StateType.CANCELLING):
            sent.sign, sent.since = state.id, time.monotonic()  # waits in a queue
            return False
        if time.monotonic() - sent.looked < self._execution.lost_after / 4:
            return False  # each look costs a request for each artifact on a remote store
        sent.looked = time.monotonic()
        waiting = (item for item in sent.parcel.items if item.handle.key not in sent.held)
        locks = tuple(self._store.sign_of_life(item.handle) for item in waiting)
        work = (frozenset(sent.held), locks)
        if sent.first is None:
            sent.first = work  # a lock that is there already may be that of a holder long lost
        sent.working = sent.working or work != sent.first
        if (state.id, work) != sent.sign:
            sent.sign, sent.since = (state.id, work), time.monotonic()
        allowed = self._execution.lost_after + (0.0 if sent.working else _START_SECONDS)
        return time.monotonic() - sent.since > allowed

    def _again(self, sent: _Sent, state: State[Any]) -> None:
        """Hand out what is left of a parcel, or give up."""
        self._sent.remove(sent)
        why, error = _why(state), _raised(state)
        left = sent.parcel.without(sent.held)
        if not left.items:
            return
        if error is not None:
            self._source.failed(left, error)
            return
        if sent.attempt >= self._execution.attempts:
            msg = (
                f"{left.label}: not done after {sent.attempt} attempts of {self._name} ({why}); "
                f"look at the log of its flow runs, and see that the workers use the same store, "
                f"{self._store.url}"
            )
            self._source.failed(left, WorkerError(msg))
            return
        logger.warning("%s: %s; handing out again", left.label, why)
        self._send(left, attempt=sent.attempt + 1, serial=sent.serial + 1)

    def _cancel_all(self) -> None:
        for sent in self._sent:
            logger.info("%s: cancelling", sent.parcel.label)
            _asked(lambda one=sent: self._client.set_flow_run_state(one.run_id, Cancelling()))  # type: ignore[misc]


def _asked(request: Callable[[], T]) -> T | None:
    """Ask the server; None if it is away for the moment."""
    try:
        return request()
    except httpx.TransportError as error:
        logger.warning("the Prefect server does not answer (%s); going on", type(error).__name__)
    except PrefectHTTPStatusError as error:
        if error.response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
            raise
        logger.warning("the Prefect server is in trouble (%s); going on", error)
    return None


def _why(state: State[Any]) -> str:
    first = (state.message or "").strip().splitlines()[:1]
    return f"{(state.name or state.type.value).lower()}{': ' + first[0] if first else ''}"


def _raised(state: State[Any]) -> BidsError | None:
    """Return the error of ours that a failed flow run ended with: such an error can not pass."""
    found = _RAISED.search(state.message or "") if state.type == StateType.FAILED else None
    kind = getattr(errors, found.group(1), None) if found else None
    if found is None or not (isinstance(kind, type) and issubclass(kind, BidsError)):
        return None
    error: BidsError = kind(found.group(2).strip())
    return error
