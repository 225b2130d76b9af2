"""The steps of a rendering: one per loop iteration, call, or 256 characters processed.

A gigabyte of text costs four million steps, so `STEPS` bounds memory as well as time: a rendering
produces at most 256 characters per step. A long row may cost more: when the steps are used up, the
row itself (all variables of the template) adds, once, `PER_PART` steps for each of its parts and
each 256 of its characters.
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
"""Steps of one rendering, not counting its row's allowance; ordinary rows take a few hundred."""
PER_PART: Final = 100
"""Allowance in steps for each part of a row, and for each 256 of its characters."""
_SHIFT: Final = 8  # 256 characters a step
_NEVER: Final = 1 << 60

TEXT: Final = (str, bytes, bytearray)
SEQUENCE: Final = (list, tuple, set, frozenset, KeysView, ItemsView, ValuesView)
PLAIN: Final = (*TEXT, int, float, list, tuple, dict)
_HOLDERS: Final = (*SEQUENCE, dict, Namespace)


class TooManySteps(TemplateRuntimeError):
    """A rendering would take more steps than allowed."""


class _Meter(threading.local):
    limit: int = STEPS
    left: float = float("inf")  # outside a rendering: constants at compile time
    variables: Mapping[str, Any] | None = None


_meter = _Meter()


@contextmanager
def at_most(steps: int) -> Iterator[None]:
    """Limit each rendering started within the block, in this thread, to this many steps."""
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
        variables: the variables of the template.
    """
    before = _meter.left, _meter.variables
    _meter.left, _meter.variables = _meter.limit, variables
    try:
        yield
    finally:
        _meter.left, _meter.variables = before


def spend(steps: float) -> None:
    """Charge steps to the current rendering.

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
    """Add the row's allowance to the limit, once; return whether it was added now."""
    variables, _meter.variables = _meter.variables, None
    if variables is None:
        return False
    _meter.left += PER_PART * _parts(dict(variables), most=_NEVER)
    return True


def weight(value: object) -> int:
    """Return the steps of traversing a value once, including everything nested in it.

    Numbers and the like cost nothing. It stops once the rendering's steps are used up: lists that
    contain the same list many times can be larger than any memory.
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
    """Return the steps of copying a value, without what is nested in it."""
    if isinstance(value, TEXT):
        return len(value) >> _SHIFT
    return len(value) >> 3 if isinstance(value, list | tuple | dict | set | frozenset) else 0


def characters(count: float) -> float:
    """Return the steps of a text of this many characters."""
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
