"""The steps of a rendering: one per pass of a loop, a call, or 256 characters that are handled.

A text of a gigabyte costs four million steps, so `STEPS` bounds memory as well as time: what one
rendering makes is at most 256 characters a step, held or not. A long row may cost more: when the
steps are used up, the row itself (all variables of the template) adds `PER_PART` for each of its
parts and each 256 of its characters, once.
"""

from __future__ import annotations

import threading
from collections.abc import ItemsView, KeysView, ValuesView
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from jinja2 import TemplateRuntimeError
from jinja2.utils import Namespace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STEPS: Final = 1_000_000
"""Steps of one rendering, beyond what its row adds; ordinary rows take some hundred."""
PER_PART: Final = 100
"""Steps that each part of a row, and each 256 characters of it, may cost."""
_SHIFT: Final = 8  # 256 characters a step
_NEVER: Final = 1 << 60

TEXT: Final = (str, bytes, bytearray)
SEQUENCE: Final = (list, tuple, set, frozenset, KeysView, ItemsView, ValuesView)
PLAIN: Final = (*TEXT, int, float, list, tuple, dict)
_HOLDERS: Final = (*SEQUENCE, dict, Namespace)


class TooManySteps(TemplateRuntimeError):
    """A rendering would take more steps than it may."""


class _Meter(threading.local):
    limit: int = STEPS
    left: float = float("inf")  # nothing is rendered: constants of a template that is compiled
    variables: Mapping[str, Any] | None = None


_meter = _Meter()


@contextmanager
def at_most(steps: int) -> Iterator[None]:
    """Bound the renderings that begin inside, in this thread, by some steps."""
    before = _meter.limit
    _meter.limit = steps
    try:
        yield
    finally:
        _meter.limit = before


@contextmanager
def metered(variables: Mapping[str, Any]) -> Iterator[None]:
    """Count the steps of one rendering.

    Args:
        variables: what the template is rendered with.
    """
    before = _meter.left, _meter.variables
    _meter.left, _meter.variables = _meter.limit, variables
    try:
        yield
    finally:
        _meter.left, _meter.variables = before


def spend(steps: float) -> None:
    """Take steps from the rendering that is under way.

    Raises:
        TooManySteps: they are used up.
    """
    _meter.left -= steps
    if _meter.left < 0:
        _go_on_or_stop()


def _go_on_or_stop() -> None:
    _add_row()
    if _meter.left < 0:
        msg = f"rendering takes more than {_meter.limit:,} steps"
        raise TooManySteps(msg)


def _add_row() -> bool:
    """Add what the row may cost beyond the limit, once; tell whether this was the time."""
    variables, _meter.variables = _meter.variables, None
    if variables is None:
        return False
    _meter.left += PER_PART * _parts(dict(variables), most=_NEVER)
    return True


def weight(value: object) -> int:
    """Return the steps of going through a value once, all that lies in it included.

    Nothing for numbers and the like. It stops where the rendering's steps are used up: lists that
    hold one list many times are larger than any memory.
    """
    if isinstance(value, TEXT):
        return len(value) >> _SHIFT
    if isinstance(value, _HOLDERS):
        total = _parts(value, most=_meter.left)
        if total > _meter.left and _add_row():
            total = _parts(value, most=_meter.left)
        return total if total <= _meter.left else _NEVER
    return len(value) if isinstance(value, range) else 0


def shallow(value: object) -> int:
    """Return the steps of copying a value, not what lies in it."""
    if isinstance(value, TEXT):
        return len(value) >> _SHIFT
    return len(value) >> 3 if isinstance(value, list | tuple | dict | set | frozenset) else 0


def characters(count: float) -> float:
    """Return the steps of a text of so many characters."""
    return max(count, 0) / (1 << _SHIFT)


def _parts(value: object, *, most: float) -> int:
    total, todo = 0, [value]
    while todo and total <= most:
        item = todo.pop()
        if isinstance(item, TEXT):
            total += len(item) >> _SHIFT
        elif isinstance(item, dict):
            total += 2 * len(item)
            todo += item
            todo += item.values()
        elif isinstance(item, SEQUENCE):
            total += len(item)
            todo += item
        elif isinstance(item, Namespace):
            total += 1
            todo.append(getattr(item, "_Namespace__attrs"))  # noqa: B009 - its repr shows them
    return total
