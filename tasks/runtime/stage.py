"""A stage as a Prefect task: identify, look in the store, compute if needed, publish, report.

A stage is two plain functions. `identify(config, ...)` returns the identity of its result, cheaply
and without side effects; `compute(config, ..., draft, progress)` makes the result. All the caching
is in `ArtifactStore.get_or_compute`: if the artifact is there and intact, the task ends in the
Prefect state `Cached` without computing; if it is gone or damaged, the task computes it. So caching
works across runs, servers and machines that share a store, and no other record can go stale.

Temporary failures are retried (see `retries`).
"""

from __future__ import annotations

import copy
import functools
import inspect
import time
from typing import TYPE_CHECKING, Any, Generic, ParamSpec

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed
from prefect.task_engine import TaskRunTimeoutError
from prefect.tasks import exponential_backoff

from bids_core.artifacts import ArtifactStore, Draft, Handle, Identity
from bids_core.config import RunConfig
from bids_core.errors import StageTimeoutError
from bids_core.models.memory import peak_memory, reset_peak_memory, return_heap
from tasks.runtime.progress import current
from tasks.runtime.retries import may_pass, smaller_after_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["StageTask", "stage_task"]

P = ParamSpec("P")


class StageTask(Task[P, State[Handle]], Generic[P]):
    """A Prefect task that returns the handle of its stage's result, whether computed or found.

    Args:
        identify: returns the identity of the result; takes the configuration first.
        function: what the task runs.
        options: of the Prefect task.
    """

    def __init__(
        self,
        identify: Callable[P, Identity],
        function: Callable[P, State[Handle]],
        **options: Any,
    ) -> None:
        super().__init__(function, **options)
        self.identify = identify

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task within its time limit; return the handle."""
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
    name: str,
    identify: Callable[P, Identity],
    compute: Callable[..., None],
    *,
    label: str | Callable[[Mapping[str, Any]], str] | None = None,
    unit: str = "examples",
    task_run_name: str | Callable[[], str] | None = None,
) -> StageTask[P]:
    """Make a stage a Prefect task, with retries for temporary failures.

    Args:
        name: of the stage.
        identify: `identify(config, ...)` returns the identity of the result.
        compute: `compute(config, ..., draft=, progress=)` makes it, with the same arguments.
        label: display name of the step, a format string or function of the arguments; default: the
            name.
        unit: what the progress counts.
        task_run_name: name of the task run, in Prefect's form.
    """
    signature = inspect.signature(identify)

    @functools.wraps(identify)
    def run(*args: P.args, **kwargs: P.kwargs) -> State[Handle]:
        arguments = signature.bind(*args, **kwargs).arguments
        shown = label(arguments) if callable(label) else (label or name).format(**arguments)
        started = time.perf_counter()

        def fill(draft: Draft) -> None:
            return_heap()  # the peak is this stage's own, not the last one's
            reset_peak_memory()
            progress = current().step(shown, unit)
            began = time.process_time()
            compute(*args, **kwargs, draft=draft, progress=progress)
            draft.summary["processor_seconds"] = time.process_time() - began
            draft.summary["peak_memory_bytes"] = peak_memory()

        store = ArtifactStore(arguments["config"].store)
        found = store.get_or_compute(identify(*args, **kwargs), fill)
        seconds = time.perf_counter() - started
        current().end(shown, seconds=seconds, cached=not found.computed)
        if found.computed:
            return Completed(message=f"{found.handle.key} was computed", data=found.handle)
        message = f"{found.handle.key} is in the store"
        return Completed(name="Cached", message=message, data=found.handle)

    run.__doc__ = compute.__doc__
    return StageTask(
        identify,
        smaller_after_out_of_memory(run),
        name=name,
        task_run_name=task_run_name,
        retries=3,
        retry_delay_seconds=exponential_backoff(backoff_factor=2),
        retry_jitter_factor=0.5,
        retry_condition_fn=may_pass,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
