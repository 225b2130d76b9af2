"""The look of methods and tasks on the page: a colour and a marker each.

The colours are Okabe and Ito's (2008), which colour-blind readers can distinguish; their values are
in the style sheet, so that the dark theme can lighten them. No two names on a page share both
colour and marker, and the first eight share neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bids_core.own_code import is_own
from bids_core.selection import METHODS
from bids_core.selection.names import POOL, ZERO_SHOT

if TYPE_CHECKING:
    from collections.abc import Iterable

_SERIES: Final = ("blue", "orange", "green", "vermilion", "purple", "sky", "yellow", "grey")
MARKERS: Final = ("circle", "square", "triangle", "diamond", "down", "plus", "star", "cross")
"""Shapes drawn by `bids_core.report.svg.marker`; at first, the n-th colour gets the n-th shape."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a method or task is drawn.

    Args:
        colour: a CSS value.
        marker: one of `MARKERS`.
        hollow: drawn as an outline (the base model).
    """

    colour: str
    marker: str = "circle"
    hollow: bool = False


PLAIN: Final = Look("var(--ink)")
"""Look of anything that has none of its own."""
BASE: Final = Look("var(--ink)", hollow=True)
"""Look of the base model."""


def series_looks(names: Iterable[str]) -> dict[str, Look]:
    """Return a look for each name, in order; up to 64 names differ in colour or marker."""
    unique = dict.fromkeys(names)
    return {name: _look(place) for place, name in enumerate(unique)}


def method_looks(methods: Iterable[str]) -> dict[str, Look]:
    """Return a look for each method: its own colour if it has one, otherwise an unused look."""
    unique = list(dict.fromkeys(methods))
    own = {method: _own_place(method) for method in unique}
    taken = {place for place in own.values() if place is not None}
    free = (place for place in range(64 + len(unique)) if place not in taken)
    looks = {}
    for method in unique:
        place = own[method]
        if method in (ZERO_SHOT, POOL):
            looks[method] = BASE
        else:
            looks[method] = _look(next(free) if place is None else place)
    return looks


def _own_place(method: str) -> int | None:
    known = METHODS[method].colour if method in METHODS and not is_own(method) else None
    return _SERIES.index(known) if known in _SERIES else None


def _look(place: int) -> Look:
    turn = place // len(_SERIES)
    colour = _SERIES[place % len(_SERIES)]
    return Look(f"var(--{colour})", MARKERS[(place + turn) % len(MARKERS)])
