"""Composition of the first picks along the pick order, as inline SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_core.report.figures import SMALL
from bids_core.report.svg import (
    WIDE,
    Scale,
    bottom_axis,
    drawing,
    left_axis,
    marker,
    path,
    tag,
    text,
    upright,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup

    from bids_core.report.names import Look


def stacked_shares(
    names: Sequence[str],
    *,
    looks: Mapping[str, Look],
    order: Sequence[str],
    label: str,
    axis: str,
    width: float = WIDE,
) -> Markup:
    """Draw how the shares among the first k picks develop along the pick order.

    Each band has its marker at the right end, and its name if there is room.

    Args:
        names: group of each pick, best pick first.
        looks: of each name.
        order: names from bottom to top.
        label: for screen readers.
        axis: title of the horizontal axis.
        width: of the drawing.
    """
    small = width < SMALL
    height, left, top = 210.0, 66.0, 10.0
    right = width - (26.0 if small else 150.0)
    x = Scale(1.0, float(max(2, len(names))), left, right)
    y = Scale(0.0, 1.0, top + height, top)
    kept, below = _levels(names, order, points=80 if small else 240)
    parts: list[Markup] = []
    ends: list[Markup] = []
    floor = [0.0] * len(kept)
    for name in order:
        ceiling = [levels[name] for levels in below]
        upper = [(x(float(k)), y(v)) for k, v in zip(kept, ceiling, strict=True)]
        lower = [(x(float(k)), y(v)) for k, v in zip(kept, floor, strict=True)]
        if len(kept) == 1:
            upper, lower = [*upper, (right, upper[0][1])], [*lower, (right, lower[0][1])]
        title = tag("title", f"{name}: {100 * (ceiling[-1] - floor[-1]):.1f}% of all picks")
        shape = path([*upper, *reversed(lower)], closed=True, style=f"fill:{looks[name].colour}")
        parts += [tag("g", title, shape, class_="area")]
        if lower[-1][1] - upper[-1][1] >= 10:
            middle = (lower[-1][1] + upper[-1][1]) / 2
            ends += [marker(looks[name], right + 13, middle, 4.2)]
            if not small:
                shown = name if len(name) <= 18 else f"{name[:17]}\N{HORIZONTAL ELLIPSIS}"
                ends += [text(right + 24, middle + 4, shown, class_="tick")]
        floor = ceiling
    parts += [left_axis(y, left, right, as_percent=True), *ends]
    parts += [bottom_axis(x, top + height, top + height, count=4 if small else 8)]
    parts += [upright(12, top + height / 2, "share of the picks so far")]
    parts += [text((left + right) / 2, top + height + 36, axis, class_="title",
                   text_anchor="middle")]  # fmt: skip
    return drawing(width, top + height + 44, label, parts)


def _levels(
    names: Sequence[str], order: Sequence[str], *, points: int
) -> tuple[list[int], list[dict[str, float]]]:
    """Return some values of k, and for each the upper edge of every band."""
    kept = sorted({1, *(round(len(names) * i / points) for i in range(1, points + 1))} - {0})
    running = dict.fromkeys(order, 0)
    wanted = set(kept)
    below: list[dict[str, float]] = []
    for count, name in enumerate(names, start=1):
        running[name] += 1
        if count in wanted:
            total, levels = 0.0, {}
            for each in order:
                total += running[each] / count
                levels[each] = total
            below.append(levels)
    return kept, below
