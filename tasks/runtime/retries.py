"""Retries: what is tried again, and how.

I/O errors, lost connections and a lack of memory can be temporary: the task is retried with
exponential backoff and jitter. A mistake in configuration or data, a NaN, a full disk and a stage
over its time limit are not retried. When memory runs out, the stage first starts over with half the
tokens in a batch, which changes no result; the gradient stage halves single batches itself.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from prefect.task_engine import TaskRunTimeoutError

from bids_core.artifacts.files import is_full
from bids_core.config import RunConfig
from bids_core.errors import BidsError
from bids_core.models.memory import free_memory, is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect.client.schemas.objects import State

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)

_HALVINGS: Final = 4
_BUDGETED: Final = ("warmup", "gradients", "finetune", "evaluation")
_FOR_GOOD: Final = (
    BidsError, FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError,
)  # fmt: skip
# network errors as raised by clients of object stores; not all of them are OSErrors
_NETWORK: Final = frozenset(
    {"HTTPClientError", "ConnectionError", "ClientConnectionError", "TransportError"}
)


def is_for_good(error: BaseException) -> bool:
    """Return whether an error would repeat: ours, a missing file, no space."""
    return isinstance(error, _FOR_GOOD) or is_full(error)


def may_pass(_task: object, _run: object, state: State[Any]) -> bool:
    """Tell Prefect whether a failure may be temporary."""
    error = state.result(raise_on_failure=False)
    if not isinstance(error, Exception) or isinstance(error, TaskRunTimeoutError):
        return False
    if is_for_good(error):
        return False
    if isinstance(error, OSError | TimeoutError) or is_out_of_memory(error):
        return True
    return any(base.__name__ in _NETWORK for base in type(error).__mro__)


def smaller_after_out_of_memory(function: Callable[P, R]) -> Callable[P, R]:
    """Return a stage that starts over with half the tokens in a batch when memory runs out."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        given: tuple[Any, ...] = args
        for halving in range(_HALVINGS + 1):
            try:
                return function(*given, **kwargs)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or halving == _HALVINGS:
                    raise
                if not given or not isinstance(given[0], RunConfig):
                    raise
                logger.warning(
                    "out of memory (%s); trying again with half the tokens in a batch", error
                )
            free_memory()  # here nothing refers to the failed attempt's tensors any more
            given = (_with_half_batches(given[0]), *given[1:])
        raise AssertionError  # the loop returns or raises

    return run


def _with_half_batches(config: RunConfig) -> RunConfig:
    """Return the configuration with `tokens_per_batch` halved in every section."""
    halved = {
        name: section.model_copy(update={"tokens_per_batch": max(1, section.tokens_per_batch // 2)})
        for name in _BUDGETED
        if (section := getattr(config, name))
    }
    return config.model_copy(update=halved)
