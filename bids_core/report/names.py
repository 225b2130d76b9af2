"""What methods and tasks are coloured on the page.

Colours are those of Okabe and Ito (2008), told apart by colour-blind readers too; the values live
in the style sheet, so that the dark theme can lighten them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bids_core.own_code import is_own
from bids_core.selection import METHODS
from bids_core.selection.names import POOL, ZERO_SHOT

if TYPE_CHECKING:
    from collections.abc import Iterable

_COLOURS: Final = {POOL: "grey", ZERO_SHOT: "ink"}
_ANY: Final = "sky"
"""The colour of methods that have none of their own."""
_SERIES: Final = ("blue", "orange", "green", "vermilion", "purple", "sky", "yellow", "grey")


def method_colour(method: str) -> str:
    """Return the CSS value of a method's colour."""
    known = METHODS[method].colour if method in METHODS and not is_own(method) else None
    return f"var(--{_COLOURS.get(method) or known or _ANY})"


def series_colours(names: Iterable[str]) -> dict[str, str]:
    """Return the CSS value of each name's colour, in order; after eight they come again."""
    unique = dict.fromkeys(names)
    return {name: f"var(--{_SERIES[i % len(_SERIES)]})" for i, name in enumerate(unique)}
