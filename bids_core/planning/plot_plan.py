"""The figure of a plan, with matplotlib: what each setting costs against what it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bids_core.picture import MARKERS, Picture, colour

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

_ROOM: Final = 1.8
"""How far the cost axis extends beyond the first and last point, to make room for their names."""

_NEAR: Final = 0.04
"""Points closer than this (in relative cost, and in overlap) share one name."""


def plot_plan(plan: Mapping[str, Any]) -> Picture:
    """Draw overlap with the exact picks against the share of the exact cost.

    Args:
        plan: what `plan.json` holds.

    Returns:
        A figure with one point per setting, with its interval; efficient settings are joined and
        named.

    Raises:
        UserError: matplotlib is not installed.
    """
    figure = Picture(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    rows = plan["settings"]
    families = list(dict.fromkeys(row["family"] for row in rows))
    for place, family in enumerate(families):
        _points(axes, [row for row in rows if row["family"] == family], place, family)
    best = sorted((row for row in rows if row["efficient"]), key=lambda row: row["cost"]["share"])
    axes.plot(
        [row["cost"]["share"] for row in best], [row["overlap"]["value"] for row in best],
        color="#999999", linewidth=0.9, zorder=1,
    )  # fmt: skip
    for row in _apart(best, plan["chosen"]):
        _name(axes, row, chosen=row["name"] == plan["chosen"])
    chance = plan["sample"]["chance"]
    axes.axhline(chance, color="#999999", linestyle=":", linewidth=0.9)
    axes.annotate("random picks", (1, chance), xycoords=("axes fraction", "data"), ha="right",
                  xytext=(-3, 3), textcoords="offset points", fontsize=8,
                  color="#555555")  # fmt: skip
    shares = [row["cost"]["share"] for row in rows]
    axes.set_xscale("log")
    axes.set_xlim(min(shares) / _ROOM, max(shares) * _ROOM)
    axes.set_ylim(0, 1.08)
    ticks = [t for t in (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0) if axes.get_xlim()[0] <= t]
    axes.set_xticks(ticks, [f"{tick:.0%}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(f"share of the exact cost ({plan['machine']['label']})")
    axes.set_ylabel("share of the exact picks that it keeps")
    axes.spines[["top", "right"]].set_visible(False)
    sample = plan["sample"]
    axes.set_title(
        f"{plan['name']}: {sample['picks']} picks of {sample['rows']:,} rows, 95% intervals",
        fontsize=10, loc="left",
    )  # fmt: skip
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def _apart(rows: Sequence[Mapping[str, Any]], chosen: str | None) -> list[Mapping[str, Any]]:
    """Return the points to name: the chosen one, and of points close together only the first."""
    found: list[Mapping[str, Any]] = []
    for row in sorted(rows, key=lambda one: one["name"] != chosen):
        x, y = row["cost"]["share"], row["overlap"]["value"]
        near = [
            abs(x / one["cost"]["share"] - 1) < _NEAR and abs(y - one["overlap"]["value"]) < _NEAR
            for one in found
        ]
        if not any(near):
            found.append(row)
    return found


def _points(axes: Axes, rows: Sequence[Mapping[str, Any]], place: int, family: str) -> None:
    found = [row["overlap"] for row in rows]
    axes.errorbar(
        [row["cost"]["share"] for row in rows], [one["value"] for one in found],
        yerr=[[one["value"] - one["low"] for one in found],
              [one["high"] - one["value"] for one in found]],
        fmt=MARKERS[place % len(MARKERS)], color=colour(place), markersize=6, elinewidth=0.8,
        capsize=2, label=family,
    )  # fmt: skip


def _name(axes: Axes, row: Mapping[str, Any], *, chosen: bool) -> None:
    axes.annotate(
        row["name"], (row["cost"]["share"], row["overlap"]["value"]), xytext=(-7, 5),
        textcoords="offset points", ha="right", fontsize=8, weight="bold" if chosen else "normal",
    )  # fmt: skip
