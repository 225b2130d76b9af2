"""Figures of scores, influence and picks, as inline SVG.

Every function takes the width to draw for: `svg.WIDE` or `svg.NARROW` (see `svg.responsive`).

Shapes: M validation instances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bids_core.report.names import PLAIN, Look
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
    path,
    tag,
    text,
    upright,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt
    from markupsafe import Markup

SMALL = 400.0
"""Drawings narrower than this put names above what they name."""


MEDIUM = 600.0
"""Drawings narrower than this have fewer ticks."""


@dataclass(frozen=True, slots=True)
class Dot:
    """One score with its 95% interval (shares of 1), a name for the tooltip and a look."""

    name: str
    score: float
    interval: tuple[float, float]
    look: Look


@dataclass(frozen=True, slots=True)
class DotRow:
    """The scores of one task; `mark` is the majority answer's score, None where there is none."""

    name: str
    dots: Sequence[Dot]
    mark: float | None = None


def dot_plot(
    rows: Sequence[DotRow], *, label: str, axis: str, width: float = WIDE, named: bool = False
) -> Markup:
    """Draw scores with 95% intervals, a band a row, one line a method within it.

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
    """Draw the majority answer's score as a line; named, with its name above it."""
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

    A short line above each group of bars is the task's mean; its marker stands below.

    Args:
        panels: M values each.
        tasks: [M] task of each instance; the instances of a task stand side by side.
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


def stacked_shares(
    names: Sequence[str],
    *,
    looks: Mapping[str, Look],
    order: Sequence[str],
    label: str,
    axis: str,
    width: float = WIDE,
) -> Markup:
    """Draw how the shares of the first k picks develop along the pick order.

    Each band has its marker at its right end, and its name where there is room.

    Args:
        names: what each pick belongs to, best pick first.
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
    """Return some numbers of picks k, and at each the upper edge of every band."""
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
