"""What every stage does alike: look in the store, compute if needed, publish, tell.

The artifact store is the cache. A task whose artifact is there and whole ends in the Prefect state
`Cached` without computing; one whose artifact is gone or damaged computes it. So caching works
across runs, servers and machines that see the same store, and no other record can go stale.

Of several runs that need an artifact at the same time, on whatever machines, one computes it and
the others wait (`ArtifactStore.exclusive`). What can pass is tried again (see retries).
"""

from __future__ import annotations

import copy
import resource
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, ParamSpec, cast

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed
from prefect.task_engine import TaskRunTimeoutError
from prefect.tasks import exponential_backoff

from bids_core.artifacts import ArtifactStore, Draft, Handle, fingerprint
from bids_core.config import RunConfig
from bids_core.errors import StageTimeoutError
from bids_core.models.memory import return_heap
from bids_core.progress import Progress
from tasks.runtime.progress import current
from tasks.runtime.retries import may_pass, smaller_after_out_of_memory

__all__ = ["Stage", "StageTask", "look", "peak_memory", "run_stage", "stage_task"]

P = ParamSpec("P")

_looking: ContextVar[bool] = ContextVar("looking", default=False)

_MAC_UNITS: Final = 1024  # ru_maxrss is in KiB on Linux


@dataclass(frozen=True, slots=True)
class Stage:
    """What identifies a stage's result.

    Args:
        name: folder in the store.
        version: algorithm version; raise it when results change.
        config: values that can change the result.
        inputs: fingerprints or digests of what it reads.
        seed: for the record.
    """

    name: str
    version: int
    config: Mapping[str, Any]
    inputs: Mapping[str, Any]
    seed: int | None = None

    @property
    def fingerprint(self) -> str:
        """Name of the result in the store."""
        return fingerprint(self.name, version=self.version, config=self.config, inputs=self.inputs)


def run_stage(
    store: ArtifactStore,
    stage: Stage,
    compute: Callable[[Draft, Progress], None],
    *,
    label: str,
    unit: str = "examples",
) -> Handle:
    """Return the stage's artifact, computing it only if the store does not hold it whole.

    Args:
        store: where artifacts are.
        stage: what identifies the result.
        compute: fills a draft; gets a progress callback.
        label: name of the step for people.
        unit: what the progress counts.

    Returns:
        The handle. What is really returned is a completed Prefect state that carries it (named
        `Cached` on a hit); Prefect hands the caller of the task what the state carries.
    """
    started = time.perf_counter()
    found = store.find(stage.name, stage.fingerprint)
    handle = store.handle(stage.name, stage.fingerprint)
    if _looking.get():
        raise _Looked(handle, found=found is not None)
    if found is None:
        with store.exclusive(handle) as waited:
            if not waited or store.find(stage.name, stage.fingerprint) is None:
                _compute(store, stage, compute, current().step(label, unit))
                current().end(label, seconds=time.perf_counter() - started, cached=False)
                return cast("Handle", Completed(message=f"{handle.key} was computed", data=handle))
    current().end(label, seconds=time.perf_counter() - started, cached=True)
    message = f"{handle.key} is in the store"
    return cast("Handle", Completed(name="Cached", message=message, data=handle))


def _compute(
    store: ArtifactStore,
    stage: Stage,
    compute: Callable[[Draft, Progress], None],
    progress: Progress,
) -> None:
    return_heap()  # the peak is this stage's own, not what the last one left
    _reset_peak_memory()
    with store.create(
        stage.name,
        stage.fingerprint,
        version=stage.version,
        config=stage.config,
        inputs=stage.inputs,
        seed=stage.seed,
    ) as draft:
        compute(draft, progress)
        draft.summary["peak_memory_bytes"] = peak_memory()


class _Looked(BaseException):
    """Carries the answer of `look` past the stage's own code, which must not mistake it."""

    def __init__(self, handle: Handle, *, found: bool) -> None:
        super().__init__(handle.key)
        self.handle = handle
        self.found = found


def look(task: StageTask[P], *args: P.args, **kwargs: P.kwargs) -> tuple[Handle, bool]:
    """Return the handle that a stage would return, and whether the store holds it whole.

    Nothing is computed; arguments are those of the task.
    """
    token = _looking.set(True)
    try:
        task.fn(*args, **kwargs)
    except _Looked as answer:
        return answer.handle, answer.found
    finally:
        _looking.reset(token)
    msg = f"the task {task.name} does not go through run_stage"
    raise TypeError(msg)


def peak_memory() -> int:
    """Return the highest resident memory of this process in bytes, since the last stage began."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAC_UNITS


def _reset_peak_memory() -> None:
    """Start a new high-water mark (Linux); elsewhere the mark is that of the whole process."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        try:
            path.write_text("5", encoding="utf-8")
        except PermissionError:
            return  # a hardened container: the mark stays that of the whole process


class StageTask(Task[P, Handle]):
    """A Prefect task that returns a handle, whether it computed or found it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task within its time limit; unwraps the state that says `Cached`."""
        limit = self._time_limit(*args, **kwargs)
        if limit is not None and self.timeout_seconds != limit:
            limited = copy.copy(self)  # with_options would make it a plain Task
            limited.timeout_seconds = limit
            return limited(*args, **kwargs)
        try:
            value = super().__call__(*args, **kwargs)
        except TaskRunTimeoutError as error:
            msg = (
                f"{self.name} took longer than execution.timeouts.{self.name}, {limit:g} s; "
                "raise it, or give the stage less work, and run again"
            )
            raise StageTimeoutError(msg) from error
        return value.result() if isinstance(value, State) else value

    def _time_limit(self, *args: Any, **kwargs: Any) -> float | None:
        config = kwargs.get("config", args[0] if args else None)
        if not isinstance(config, RunConfig):
            return None
        limit: float | None = getattr(config.execution.timeouts, self.name, None)
        return limit


def stage_task(
    name: str, *, task_run_name: str | None = None
) -> Callable[[Callable[P, Handle]], StageTask[P]]:
    """Return a decorator that makes a stage a Prefect task, retried where that can help."""

    def decorate(function: Callable[P, Handle]) -> StageTask[P]:
        return StageTask(
            smaller_after_out_of_memory(function),
            name=name,
            task_run_name=task_run_name,
            retries=3,
            retry_delay_seconds=exponential_backoff(backoff_factor=2),
            retry_jitter_factor=0.5,
            retry_condition_fn=may_pass,
            cache_policy=NO_CACHE,
            persist_result=False,
        )

    return decorate
