"""What methods and tasks are called and coloured on the page.

Colours are those of Okabe and Ito (2008), told apart by colour-blind readers too; the values live
in the style sheet, so that the dark theme can lighten them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bids_core.report.inputs import ZERO_SHOT

if TYPE_CHECKING:
    from collections.abc import Iterable

POOL: Final = "pool"
"""Name under which the whole training pool stands beside the selections."""

_LABELS: Final = {
    "bids": "BIDS",
    "less": "LESS",
    "instance_max": "instance-max",
    "random": "random",
    "full": "full pool",
    "bm25": "BM25",
    "dsir": "DSIR",
    "rds": "RDS",
    "rds_plus": "RDS+",
    POOL: "pool",
    ZERO_SHOT: "zero-shot",
}
_COLOURS: Final = {
    "bids": "blue",
    "less": "vermilion",
    "instance_max": "green",
    "random": "grey",
    "full": "purple",
    POOL: "grey",
    ZERO_SHOT: "ink",
}
_SERIES: Final = ("blue", "orange", "green", "vermilion", "purple", "sky", "yellow", "grey")


def method_label(method: str) -> str:
    """Return what a method is called on the page."""
    return _LABELS.get(method, method.replace("_", " "))


def method_colour(method: str) -> str:
    """Return the CSS value of a method's colour."""
    return f"var(--{_COLOURS.get(method, 'sky')})"


def series_colours(names: Iterable[str]) -> dict[str, str]:
    """Return the CSS value of each name's colour, in order; after eight they come again."""
    unique = dict.fromkeys(names)
    return {name: f"var(--{_SERIES[i % len(_SERIES)]})" for i, name in enumerate(unique)}


def percent(value: float, digits: int = 1) -> str:
    """Format a share as a percentage; a dash where there is none."""
    return "\N{EN DASH}" if value != value else f"{100 * value:.{digits}f}%"


def number(value: float, digits: int = 3) -> str:
    """Format a number with a true minus sign (none before a zero); a dash where there is none."""
    if value != value:
        return "\N{EN DASH}"
    return f"{value:z,.{digits}f}".replace("-", "\N{MINUS SIGN}")
