"""Figures of a selection, with matplotlib: what each pick was worth, what the picks are made of.

Shapes: B picks.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import numpy as np

from bids_core.errors import MatrixError, UserError

try:
    from matplotlib.figure import Figure
except ImportError as error:
    msg = 'figures need matplotlib: pip install "bids-select[plot]"'
    raise UserError(msg) from error

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from bids_core.selection.result import Selection

COLOURS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
"""Okabe and Ito's colours, which colour-blind readers can tell apart."""
MARKERS: Final = "osD^vPX*<>"
"""With the colours, the marks of up to 70 groups."""
_GROUPS: Final = 8
"""Groups with a colour of their own; the others are shown together."""
_OTHER: Final = "others"
_BY: Final = {
    "winning_task": "task",
    "winning_validation": "validation instance",
    "source": "source",
}


class Picture(Figure):
    """A figure that notebooks show as it is returned, whatever plotting backend is set."""

    def _repr_png_(self) -> bytes:
        drawn = io.BytesIO()
        self.savefig(drawn, format="png", dpi=110, bbox_inches="tight")
        return drawn.getvalue()


def plot_selection(selection: Selection, *, by: str | None = None) -> Picture:
    """Draw the utility of each pick, and the shares of the groups along the picks.

    Args:
        selection: the picks.
        by: what they are coloured by; see `Selection.plot`.

    Raises:
        MatrixError: the selection does not know what `by` names.
    """
    frame = selection.to_frame()
    column = _grouping(frame, by)
    figure = Picture(figsize=(10, 3.6), layout="constrained")
    worth, shares = figure.subplots(1, 2)
    groups = _groups(frame, column)
    for place, group in enumerate(dict.fromkeys(groups)):
        part = frame[np.array(groups) == group]
        worth.plot(
            part["rank"], part["utility"], MARKERS[place % len(MARKERS)], markersize=3.5,
            color=colour(place, group), label=group,
        )  # fmt: skip
    _labelled(worth, "What each pick was worth", "pick", "utility")
    _stacked(shares, groups)
    what = _BY.get(column or "", "group")
    _labelled(shares, f"The picks so far, by {what}", "picks", "share")
    if column is not None:
        figure.legend(
            *worth.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False
        )
    figure.suptitle(selection._words(), fontsize=10)
    return figure


def colour(place: int, group: str = "") -> str:
    """Return the colour of the group at a place; grey for the rest of them."""
    return "#999999" if group == _OTHER else COLOURS[place % len(COLOURS)]


def _grouping(frame: pd.DataFrame, by: str | None) -> str | None:
    """Return the column to colour by; None where the selection knows no group at all."""
    if by is not None and by not in _BY:
        msg = f"`by` must be one of {', '.join(_BY)}, not {by!r}"
        raise MatrixError(msg)
    known = [name for name in _BY if not frame[name].isna().all()]
    if by is None:
        return known[0] if known else None
    if by not in known:
        msg = (
            f"the selection does not know the {_BY[by]} of its picks: it has {known or 'no names'}"
        )
        raise MatrixError(msg)
    return by


def _groups(frame: pd.DataFrame, column: str | None) -> list[str]:
    """Return each pick's group: the most frequent ones by name, first the largest."""
    if column is None:
        return ["all"] * len(frame)
    names = frame[column].fillna("none").astype(str)
    largest = names.value_counts().index[:_GROUPS]
    return [name if name in set(largest) else _OTHER for name in names]


def _stacked(axes: Axes, groups: Sequence[str]) -> None:
    order = list(dict.fromkeys(groups))
    picks = np.arange(1, len(groups) + 1)
    shares = [np.cumsum(np.array(groups) == group) / picks for group in order]
    axes.stackplot(picks, *shares, colors=[colour(k, group) for k, group in enumerate(order)])
    axes.set_ylim(0, 1)
    axes.set_xlim(1, max(2, len(groups)))
    axes.yaxis.set_major_formatter("{x:.0%}")


def _labelled(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
