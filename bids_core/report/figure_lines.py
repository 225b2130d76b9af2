"""Line charts over picks and optimizer steps, and histograms of columns, as inline SVG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bids_core.report.figures import SMALL
from bids_core.report.names import PLAIN
from bids_core.report.svg import (
    WIDE,
    Scale,
    bottom_axis,
    drawing,
    group,
    left_axis,
    line,
    marker,
    padded,
    path,
    tag,
    text,
    upright,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from bids_core.report.names import Look

_ACROSS = 4
"""Histograms side by side."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: points (x, y) from left to right, a name, and a look."""

    name: str
    points: Sequence[tuple[float, float]]
    look: Look


def line_chart(
    lines: Sequence[Line],
    *,
    label: str,
    x_axis: str,
    y_axis: str,
    as_percent: bool = False,
    width: float = WIDE,
) -> Markup:
    """Draw lines with a few markers on each, so that they can be distinguished without colour.

    Args:
        lines: at least one, with at least one point each.
        label: for screen readers.
        x_axis: title of the horizontal axis.
        y_axis: title of the vertical axis.
        as_percent: whether the values are shares, from 0 to 1.
        width: of the drawing.
    """
    small = width < SMALL
    height, left, right, top = 220.0, 66.0, width - 16, 12.0
    xs = [x for one in lines for x, _ in one.points]
    ys = [y for one in lines for _, y in one.points]
    x = Scale(min(xs), max(max(xs), min(xs) + 1), left, right)
    low, high = (0.0, 1.0) if as_percent else padded(ys, zero=min(ys) >= 0)
    y = Scale(low, high, top + height, top)
    parts = [left_axis(y, left, right, count=5, as_percent=as_percent)]
    parts += [bottom_axis(x, top + height, top + height, count=4 if small else 8)]
    for place, one in enumerate(lines):
        points = [(x(a), y(b)) for a, b in _thinned(one.points, 120 if small else 400)]
        shown = [path(points, class_="curve", style=f"stroke:{one.look.colour}")]
        step = max(1, len(points) // (4 if small else 8))
        start = (place * step) // max(1, len(lines))  # so that markers do not hide each other
        shown += [marker(one.look, a, b, 4) for a, b in points[start::step]]
        parts += [group([tag("title", one.name), *shown])]
    parts += [upright(12, top + height / 2, y_axis)]
    parts += [text((left + right) / 2, top + height + 36, x_axis, class_="title",
                   text_anchor="middle")]  # fmt: skip
    return drawing(width, top + height + 44, label, parts)


def _thinned(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """Return the end points, and the lowest and highest point of each of this many segments."""
    if len(points) <= 2 * most:
        return list(points)
    step = -(-len(points) // most)
    kept = {0, len(points) - 1}
    for start in range(0, len(points), step):
        piece = range(start, min(start + step, len(points)))
        kept |= {min(piece, key=lambda i: points[i][1]), max(piece, key=lambda i: points[i][1])}
    return [points[i] for i in sorted(kept)]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts in equal bins from -5 to 5, those expected for a normal column, and the captions."""

    name: str
    note: str
    counts: Sequence[float]
    normal: Sequence[float]


def histograms(drawn: Sequence[Histogram], *, label: str, width: float = WIDE) -> Markup:
    """Draw small histograms against the normal curve.

    Args:
        drawn: from left to right, then down.
        label: for screen readers.
        width: of the drawing.
    """
    columns = 2 if width < SMALL else min(_ACROSS, max(2, len(drawn)))
    gap, left, head, height = 16.0, 22.0, 34.0, 84.0
    across = (width - left - gap * (columns - 1)) / columns
    pitch = head + height + 22
    parts: list[Markup] = []
    for index, one in enumerate(drawn):
        x0, y0 = left + (index % columns) * (across + gap), (index // columns) * pitch + head
        x = Scale(0.0, float(len(one.counts)), x0, x0 + across)
        y = Scale(0.0, max(*one.counts, *one.normal, 1.0) * 1.05, y0 + height, y0)
        most = int(across / 6.2)
        name = (
            one.name if len(one.name) <= most else f"\N{HORIZONTAL ELLIPSIS}{one.name[1 - most :]}"
        )
        parts += [text(x0, y0 - 19, name, class_="name"), text(x0, y0 - 6, one.note, class_="tick")]
        bars = [
            tag("rect", x=x(float(i)), y=y(float(n)), width=max(0.5, x(1.0) - x(0.0) - 0.4),
                height=y(0.0) - y(float(n)))
            for i, n in enumerate(one.counts)
        ]  # fmt: skip
        parts += [group(bars, class_="bars")]
        curve = [(x(i + 0.5), y(float(n))) for i, n in enumerate(one.normal)]
        parts += [path(curve, class_="expected"), line(x0, y0 + height, x0 + across, y0 + height,
                                                       class_="axis")]  # fmt: skip
        middle = len(one.counts) / 2
        for z in (-4, 0, 4):
            shown = str(z).replace("-", "\N{MINUS SIGN}")
            parts += [text(x(middle + z * len(one.counts) / 10), y0 + height + 14, shown,
                           class_="tick", text_anchor="middle")]  # fmt: skip
    total = -(-len(drawn) // columns) * pitch
    parts += [upright(10, total / 2, "rows")]
    parts += [text((left + width) / 2, total + 10, "z-score", class_="title",
                   text_anchor="middle")]  # fmt: skip
    return drawing(width, total + 16, label, parts)


def step_lines(
    steps: Sequence[float],
    rates: Sequence[float],
    epochs: Sequence[int],
    *,
    label: str,
    width: float = WIDE,
) -> Markup:
    """Draw the warmup's loss (above) and learning rate (below) of each optimizer step.

    Args:
        steps: loss of each step.
        rates: learning rate of each step.
        epochs: epoch of each step; a vertical rule marks where a checkpoint was saved.
        label: for screen readers.
        width: of the drawing.
    """
    left, right = 66.0, width - 12
    small = width < SMALL
    x = Scale(0.5, max(1.5, len(steps) + 0.5), left, right)
    parts: list[Markup] = []
    for values, top, height, title, zero in (
        (steps, 14.0, 150.0, "loss", False), (rates, 194.0, 60.0, "learning rate", True)
    ):  # fmt: skip
        y = Scale(*padded(values, zero=zero), top + height, top)
        parts += [left_axis(y, left, right, count=4 if height > 100 else 2)]
        ends = [
            i for i in range(1, len(epochs) + 1) if i == len(epochs) or epochs[i] != epochs[i - 1]
        ]
        parts += [
            line(x(end + 0.5), top, x(end + 0.5), top + height, class_="mark") for end in ends
        ]
        if height > 100:
            parts += [
                text(x(end + 0.5) - 4, top + 10, str(n) if small else f"checkpoint {n}",
                     class_="tick", text_anchor="end")
                for n, end in enumerate(ends, start=1)
            ]  # fmt: skip
        points = [(x(float(i)), y(value)) for i, value in enumerate(values, start=1)]
        parts += [path(points, class_="curve")]
        if len(points) <= 80:
            parts += [marker(PLAIN, a, b, 1.8) for a, b in points]
        parts += [upright(12, top + height / 2, title)]
    parts += [bottom_axis(x, 254.0, 254.0, count=4 if small else 8)]
    parts += [text((left + right) / 2, 290, "optimizer step", class_="title",
                   text_anchor="middle")]  # fmt: skip
    return drawing(width, 298, label, parts)
