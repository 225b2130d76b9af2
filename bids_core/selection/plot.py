"""Figures of a selection, with matplotlib: the utility of each pick, and the picks by group.

Shapes: B picks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from bids_core.errors import MatrixError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from bids_core.picture import Picture

_GROUPS: Final = 8
"""Number of groups with their own colour; the others are shown together."""
_BY: Final = {
    "winning_task": "task",
    "winning_validation": "validation instance",
    "source": "source",
}


def plot_picks(frame: pd.DataFrame, title: str, *, by: str | None = None) -> Picture:
    """Draw the utility of each pick, and the shares of the groups along the picks.

    Args:
        frame: the picks, as `Selection.to_frame` returns them.
        title: of the figure.
        by: what the picks are coloured by; see `Selection.plot`.

    Raises:
        MatrixError: the selection lacks the column named by `by`.
        UserError: matplotlib is not installed.
    """
    from bids_core.picture import MARKERS, Picture, colour

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
    _labelled(worth, "Utility of each pick", "pick", "utility")
    _stacked(shares, groups)
    what = _BY.get(column or "", "group")
    _labelled(shares, f"Picks so far, by {what}", "picks", "share")
    if column is not None:
        figure.legend(
            *worth.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False
        )
    figure.suptitle(title, fontsize=10)
    return figure


def _grouping(frame: pd.DataFrame, by: str | None) -> str | None:
    """Return the column to colour by; None if the selection has no groups at all."""
    if by is not None and by not in _BY:
        msg = f"`by` must be one of {', '.join(_BY)}, not {by!r}"
        raise MatrixError(msg)
    known = [name for name in _BY if not frame[name].isna().all()]
    if by is None:
        return known[0] if known else None
    if by not in known:
        msg = f"the selection has no {_BY[by]} for its picks; it has {known or 'no names'}"
        raise MatrixError(msg)
    return by


def _groups(frame: pd.DataFrame, column: str | None) -> list[str]:
    """Return each pick's group: the most frequent groups by name, the others as `OTHERS`."""
    from bids_core.picture import OTHERS

    if column is None:
        return ["all"] * len(frame)
    names = frame[column].fillna("none").astype(str)
    largest = names.value_counts().index[:_GROUPS]
    return [name if name in set(largest) else OTHERS for name in names]


def _stacked(axes: Axes, groups: Sequence[str]) -> None:
    from bids_core.picture import colour

    order = list(dict.fromkeys(groups))
    picks = np.arange(1, len(groups) + 1)
    shares = [np.cumsum(np.array(groups) == group) / picks for group in order]
    axes.stackplot(picks, *shares, colors=[colour(k, group) for k, group in enumerate(order)])
    axes.set_ylim(0, 1)
    axes.set_xlim(1, max(2, len(groups)))
    axes.yaxis.set_major_formatter("{x:.0%}")


def _labelled(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
