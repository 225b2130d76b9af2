"""The loop that hands out parcels, watches them, and hands out lost ones again."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from prefect.client.orchestration import get_client

from bids_core.errors import WorkerError
from flows.dispatch.liveness import Liveness, Verdict
from flows.dispatch.worker_runs import LOST, WorkerRuns

if TYPE_CHECKING:
    from collections.abc import Hashable
    from uuid import UUID

    from bids_core.artifacts import ArtifactStore
    from bids_core.artifacts.failures import Failure
    from bids_core.config import ExecutionConfig
    from flows.dispatch.parcels import Parcel, ParcelSource

logger = logging.getLogger(__name__)

_SLOTS_SECONDS: Final = 30.0  # between two looks at the pool: workers come and go
_WARN_SECONDS: Final = 60.0


@dataclass
class _Sent:
    """A parcel in flight."""

    parcel: Parcel
    run_id: UUID
    serial: int
    liveness: Liveness
    held: set[str] = field(default_factory=set)


def hand_out(
    source: ParcelSource, deployment: str, execution: ExecutionConfig, store: ArtifactStore
) -> None:
    """Hand out parcels until the source has no more and all of them are done.

    Args:
        source: of the parcels.
        deployment: `flow/name` of the deployment whose flow takes the parcels' parameters.
        execution: how many at once, how many attempts, when a worker counts as lost.
        store: where the artifacts appear.

    Raises:
        ConfigError: there is no such deployment.
        WorkerError: a parcel was handed out as often as allowed and is not done; or its worker
            failed with a permanent error that is not ours (a missing file).
        BidsError: a worker's permanent error: a mistake in data or configuration, a NaN, a missing
            artifact. Apart from ConfigError, errors are raised only if the source's `failed` raises
            them.
    """
    with get_client(sync_client=True) as client:
        _Dispatcher(WorkerRuns(client, deployment), source, execution, store).run()


class _Dispatcher:
    def __init__(
        self,
        runs: WorkerRuns,
        source: ParcelSource,
        execution: ExecutionConfig,
        store: ArtifactStore,
    ) -> None:
        self._runs = runs
        self._source = source
        self._execution = execution
        self._store = store
        self._failures = store.failures()
        self._sent: list[_Sent] = []
        self._slots = execution.parallel or 1
        self._slots_read = self._warned = -float("inf")

    def run(self) -> None:
        """Send, check and wait until everything is done."""
        try:
            while True:
                self._read_slots()
                while len(self._sent) < self._slots:
                    parcel = self._source.next_parcel(self._slots)
                    if parcel is None:
                        break
                    self._send(parcel, serial=0, liveness=self._new_liveness())
                if not self._sent:
                    return
                time.sleep(self._execution.poll_seconds)
                for sent in list(self._sent):
                    self._look_after(sent)
        except BaseException:
            self._cancel_all()
            raise

    def _new_liveness(self) -> Liveness:
        return Liveness(self._execution.lost_after, self._execution.attempts)

    def _read_slots(self) -> None:
        """Determine how many flow runs may be in flight: one running and one waiting per worker."""
        now = time.monotonic()
        if self._execution.parallel is not None or now - self._slots_read < _SLOTS_SECONDS:
            return
        self._slots_read = now
        places = self._runs.places()
        if places is None:
            return  # the server is away: no change
        if not places.online and now - self._warned > _WARN_SECONDS:
            self._warned = now
            logger.warning(
                "no worker of pool %s is online; start one: prefect worker start --pool %s",
                self._runs.pool, self._runs.pool,
            )  # fmt: skip
        self._slots = 2 * places.running

    def _send(self, parcel: Parcel, *, serial: int, liveness: Liveness) -> None:
        """Start a flow run for a parcel, or take one that is already doing the same work."""
        keys = " ".join(sorted(item.handle.key for item in parcel.items))
        parameters = parcel.parameters(parcel.items)
        while True:
            work = f"{self._store.url} {self._runs.deployment} {serial} {keys}"
            digest = hashlib.sha256(work.encode()).hexdigest()
            started = self._runs.start(parcel.label, parameters, key=digest)
            if started is None:
                time.sleep(self._execution.poll_seconds)
            elif started.is_final:
                self._failures.remove(str(started.run_id))
                serial += 1  # an earlier run of the same work, whose result is gone
            else:
                break
        liveness.begin_attempt()
        logger.info("%s: handed to %s", parcel.label, self._runs.deployment)
        self._sent.append(_Sent(parcel, started.run_id, serial, liveness))

    def _look_after(self, sent: _Sent) -> None:
        """Check a parcel: done, in progress, or to be handed out again."""
        if self._is_done(sent):
            self._sent.remove(sent)
            return
        seen = self._runs.see(sent.run_id)
        sighting = None if seen is None else seen.sighting
        verdict = sent.liveness.judge(sighting, lambda: self._signs_of_life(sent))
        if seen is None or verdict is Verdict.WAIT:
            return
        if verdict is Verdict.LOST:
            self._runs.count_as_lost(sent.run_id)
        else:
            self._is_done(sent)  # more may have appeared meanwhile
        failure = self._failures.read(str(sent.run_id)) or seen.failure
        self._again(sent, failure, seen.words if verdict is Verdict.ENDED else f"crashed: {LOST}")

    def _is_done(self, sent: _Sent) -> bool:
        """Record which items are now intact in the store; return whether all are."""
        for item in sent.parcel.items:
            handle = item.handle
            if handle.key in sent.held or not self._store.holds(handle):
                continue
            if self._store.find(handle.stage, handle.fingerprint) is not None:
                sent.held.add(handle.key)
                self._source.done(item)
        return len(sent.held) == len(sent.parcel.items)

    def _signs_of_life(self, sent: _Sent) -> Hashable:
        """Return something that changes while a worker is working."""
        waiting = (item for item in sent.parcel.items if item.handle.key not in sent.held)
        locks = tuple(self._store.sign_of_life(item.handle) for item in waiting)
        return frozenset(sent.held), locks

    def _again(self, sent: _Sent, failure: Failure | None, why: str) -> None:
        """Hand out what is left of a parcel again, or give up."""
        self._sent.remove(sent)
        left = sent.parcel.without(sent.held)
        if not left.items:
            return
        if failure is not None and not failure.can_pass:
            self._source.failed(left, failure.error())
            return
        if sent.liveness.is_exhausted:
            self._source.failed(left, self._exhausted(left, sent.liveness.attempt, failure, why))
            return
        logger.warning("%s: %s; handing out again", left.label, why.splitlines()[0])
        self._failures.remove(str(sent.run_id))
        self._send(left, serial=sent.serial + 1, liveness=sent.liveness)

    def _exhausted(
        self, left: Parcel, attempts: int, failure: Failure | None, why: str
    ) -> WorkerError:
        said = why if failure is None else str(failure)
        msg = (
            f"{left.label}: not done after {attempts} attempts of {self._runs.deployment} "
            f"({said}); read the logs of its flow runs, and check that the workers use the "
            f"same store, {self._store.url}"
        )
        return WorkerError(msg)

    def _cancel_all(self) -> None:
        for sent in self._sent:
            logger.info("%s: cancelling", sent.parcel.label)
            self._runs.cancel(sent.run_id)
