"""Figures of scores and of influence, as inline SVG.

Every function takes the width to draw for: `svg.WIDE` or `svg.NARROW` (see `svg.responsive`).

Shapes: M validation instances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bids_core.report.svg import (
    FONT_WIDTH,
    WIDE,
    Scale,
    bottom_axis,
    drawing,
    group,
    left_axis,
    line,
    marker,
    padded,
    tag,
    text,
    upright,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt
    from markupsafe import Markup

    from bids_core.report.names import Look

SMALL = 400.0
"""Drawings narrower than this put names above, not beside, what they name."""


MEDIUM = 600.0
"""Drawings narrower than this have fewer ticks."""


@dataclass(frozen=True, slots=True)
class Dot:
    """One score with its 95% interval (from 0 to 1), a name for the tooltip, and a look."""

    name: str
    score: float
    interval: tuple[float, float]
    look: Look


@dataclass(frozen=True, slots=True)
class DotRow:
    """The scores of one task; `mark` is the majority answer's score, None if there is none."""

    name: str
    dots: Sequence[Dot]
    mark: float | None = None


def dot_plot(
    rows: Sequence[DotRow], *, label: str, axis: str, width: float = WIDE, named: bool = False
) -> Markup:
    """Draw scores with 95% intervals: one band per row, one line per method within it.

    Args:
        rows: from top to bottom.
        label: for screen readers.
        axis: title of the horizontal axis.
        width: of the drawing.
        named: write each dot's name beside it, instead of the row's name.
    """
    small = width < SMALL
    names = [dot.name for row in rows for dot in row.dots] if named else [row.name for row in rows]
    left = 12 + FONT_WIDTH * max(len(name) for name in names)
    left = left if named or not small else 6.0
    head, pitch = (18.0 if small and not named else 0.0), (19.0 if named else 13.0)
    highest = max([dot.interval[1] for row in rows for dot in row.dots], default=1.0)
    marks = [row.mark for row in rows if row.mark is not None]
    scale = Scale(0.0, min(1.0, max([highest, 0.1, *marks]) * 1.06), left, width - 22)
    bands = [pitch * len(row.dots) + 14 + head for row in rows]
    top = 22.0 if named and marks else 8.0
    bottom = top + sum(bands)
    parts = [bottom_axis(scale, bottom, top, count=4 if width < MEDIUM else 8, as_percent=True)]
    y = top
    for row, band in zip(rows, bands, strict=True):
        parts += [line(0, y, width - 16, y, class_="rule")]
        if small and not named:
            parts += [text(left, y + 15, row.name, class_="name")]
        elif not named:
            parts += [text(left - 12, y + band / 2 + 4, row.name, class_="name", text_anchor="end")]
        if row.mark is not None:
            parts += [
                _majority(row.mark, scale(row.mark), y + head + 4, y + band - 4, named, width)
            ]
        for index, dot in enumerate(row.dots):
            at = y + head + 13.5 + pitch * index
            parts += [_dot(dot, scale, at)]
            if named:
                parts += [text(left - 12, at + 4, dot.name, class_="name", text_anchor="end")]
        y += band
    parts += [line(0, bottom, width - 16, bottom, class_="axis")]
    middle = (left + width - 22) / 2
    parts += [text(middle, bottom + 36, axis, class_="title", text_anchor="middle")]
    return drawing(width, bottom + 44, label, parts)


def _majority(
    value: float, x: float, top: float, bottom: float, named: bool, width: float
) -> Markup:
    """Draw the majority answer's score as a line; if `named`, with its name above it."""
    said = f"most frequent answer: {100 * value:.1f}%"
    parts = [tag("title", said), line(x, top, x, bottom, class_="mark")]
    if named:
        wide = len(said) * 5.6
        at = min(max(x, wide / 2 + 2), width - wide / 2 - 2)
        parts += [text(at, top - 8, said, class_="tick", text_anchor="middle")]
    return group(parts)


def _dot(dot: Dot, scale: Scale, y: float) -> Markup:
    low, high = (min(end, scale.high) for end in dot.interval)
    shown = f"{dot.name}: {100 * dot.score:.1f}% ({100 * low:.1f} to {100 * high:.1f})"
    stroke = f"stroke:{dot.look.colour}"
    return group(
        [
            tag("title", shown),
            line(scale(low), y, scale(high), y, style=stroke, class_="whisker"),
            marker(dot.look, scale(dot.score), y),
        ]
    )


@dataclass(frozen=True, slots=True)
class Panel:
    """One small bar chart: a value for each validation instance."""

    name: str
    values: npt.NDArray[np.float64]


def instance_panels(
    panels: Sequence[Panel],
    *,
    tasks: Sequence[str],
    looks: Mapping[str, Look],
    instances: Sequence[str],
    label: str,
    axis: str,
    width: float = WIDE,
) -> Markup:
    """Draw a row of small multiples: bars of all instances, grouped by task, on one scale.

    A short line above each group of bars shows the task's mean; its marker is below.

    Args:
        panels: M values each.
        tasks: [M] task of each instance; the instances of a task are adjacent.
        looks: of each task.
        instances: [M] ids, for tooltips.
        label: for screen readers.
        axis: title of the vertical axis.
        width: of the drawing.
    """
    columns = 3 if len(panels) == 3 or len(panels) > 4 else min(2, len(panels))
    columns = 1 if width < SMALL else columns
    height, gap, left, head, foot = 140.0, 46.0, 62.0, 26.0, 20.0
    across = (width - left - gap * (columns - 1)) / columns
    low, high = padded([float(v) for p in panels for v in p.values], zero=True)
    parts = []
    rows = -(-len(panels) // columns)
    pitch = height + head + foot + 12
    for index, panel in enumerate(panels):
        x = left + (index % columns) * (across + gap)
        y = (index // columns) * pitch + head
        scale = Scale(low, high, y + height, y)
        parts += [text(x, y - 9, panel.name, class_="panel")]
        parts += [left_axis(scale, x, x + across, count=4)]
        parts += _instance_bars(panel, tasks, looks, instances, scale, x, across)
    total = rows * pitch
    parts += [upright(12, total / 2, axis)]
    below = "validation instances, grouped by task"
    parts += [text((left + width) / 2, total + 8, below, class_="title", text_anchor="middle")]
    return drawing(width, total + 16, label, parts)


def _instance_bars(
    panel: Panel,
    tasks: Sequence[str],
    looks: Mapping[str, Look],
    instances: Sequence[str],
    scale: Scale,
    x: float,
    width: float,
) -> list[Markup]:
    names = list(dict.fromkeys(tasks))
    order = sorted(range(len(tasks)), key=lambda column: names.index(tasks[column]))
    space = 10.0 if len(names) < 12 else 3.0
    step = (width - space * len(names)) / len(tasks)
    parts: list[Markup] = []
    zero, place = scale(0.0), x + space / 2
    for name in names:
        columns = [column for column in order if tasks[column] == name]
        start = place
        bars: list[Markup] = []
        for column in columns:
            value = float(panel.values[column])
            title = tag("title", f"{instances[column]} ({name}): {value:.4g}")
            y = min(zero, scale(value))
            bars += [
                tag("rect", title, x=place, y=y, width=max(0.5, step * 0.82),
                    height=max(0.4, abs(scale(value) - zero)))
            ]  # fmt: skip
            place += step
        parts += [group(bars, style=f"fill:{looks[name].colour}")]
        mean = scale(float(panel.values[columns].mean()))
        parts += [line(start - 2, mean, place, mean, class_="mean")]
        parts += [marker(looks[name], (start + place - step * 0.18) / 2, scale.start + 11, 3.6)]
        place += space
    return parts
