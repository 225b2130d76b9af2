"""The figures of the report, as inline SVG.

Shapes: M validation instances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bids_core.report.svg import (
    FONT_WIDTH,
    Scale,
    bottom_axis,
    drawing,
    group,
    left_axis,
    line,
    padded,
    path,
    tag,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt
    from markupsafe import Markup

WIDTH = 960.0


@dataclass(frozen=True, slots=True)
class Dot:
    """One score with its 95% interval (shares of 1), a name for the tooltip and a colour."""

    name: str
    score: float
    interval: tuple[float, float]
    colour: str
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class DotRow:
    """The scores of one task; `mark` is the majority answer's score, None where there is none."""

    name: str
    dots: Sequence[Dot]
    mark: float | None = None


def dot_plot(rows: Sequence[DotRow], *, label: str, axis: str) -> Markup:
    """Draw scores with 95% intervals, a band a row, one line a method within it.

    Args:
        rows: from top to bottom.
        label: for screen readers.
        axis: title of the horizontal axis.
    """
    left = 24 + FONT_WIDTH * max(len(row.name) for row in rows)
    highest = max([dot.interval[1] for row in rows for dot in row.dots], default=1.0)
    marks = [row.mark for row in rows if row.mark is not None]
    scale = Scale(0.0, min(1.0, max([highest, 0.1, *marks]) * 1.06), left, WIDTH - 16)
    bands = [13.0 * len(row.dots) + 14 for row in rows]
    top, bottom = 8.0, 8.0 + sum(bands)
    parts = [bottom_axis(scale, bottom, top, count=8, as_percent=True)]
    y = top
    for row, band in zip(rows, bands, strict=True):
        parts += [line(0, y, WIDTH - 16, y, class_="rule")]
        parts += [text(left - 12, y + band / 2 + 4, row.name, class_="name", text_anchor="end")]
        if row.mark is not None:
            x = scale(row.mark)
            title = tag("title", f"most frequent answer: {100 * row.mark:.1f}%")
            parts += [tag("g", title, line(x, y + 4, x, y + band - 4, class_="mark"))]
        parts += [_dot(dot, scale, y + 13.5 + 13.0 * index) for index, dot in enumerate(row.dots)]
        y += band
    parts += [line(0, bottom, WIDTH - 16, bottom, class_="axis")]
    parts += [text((left + WIDTH) / 2, bottom + 36, axis, class_="title", text_anchor="middle")]
    return drawing(WIDTH, bottom + 44, label, parts)


def _dot(dot: Dot, scale: Scale, y: float) -> Markup:
    low, high = (min(end, scale.high) for end in dot.interval)
    shown = f"{dot.name}: {100 * dot.score:.1f}% ({100 * low:.1f} to {100 * high:.1f})"
    fill = "var(--bg)" if dot.hollow else dot.colour
    return group(
        [
            tag("title", shown),
            line(scale(low), y, scale(high), y, style=f"stroke:{dot.colour}", class_="whisker"),
            tag("circle", cx=scale(dot.score), cy=y, r=4.5,
                style=f"fill:{fill};stroke:{dot.colour};stroke-width:2"),
        ]
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Panel:
    """One small bar chart: a value for each validation instance."""

    name: str
    values: npt.NDArray[np.float64]


def instance_panels(
    panels: Sequence[Panel],
    *,
    tasks: Sequence[str],
    colours: Mapping[str, str],
    instances: Sequence[str],
    label: str,
    axis: str,
) -> Markup:
    """Draw a row of small multiples: bars of all instances, grouped by task, on one scale.

    A short line above each group of bars is the task's mean.

    Args:
        panels: M values each.
        tasks: [M] task of each instance; the instances of a task stand side by side.
        colours: CSS colour of each task.
        instances: [M] ids, for tooltips.
        label: for screen readers.
        axis: title of the vertical axis.
    """
    columns = 3 if len(panels) == 3 or len(panels) > 4 else min(2, len(panels))
    height, gap, left, head = 140.0, 46.0, 62.0, 26.0
    width = (WIDTH - left - gap * (columns - 1)) / columns
    low, high = padded([float(v) for p in panels for v in p.values], zero=True)
    parts = []
    rows = -(-len(panels) // columns)
    for index, panel in enumerate(panels):
        x = left + (index % columns) * (width + gap)
        y = (index // columns) * (height + head + 16) + head
        scale = Scale(low, high, y + height, y)
        parts += [text(x, y - 9, panel.name, class_="panel")]
        parts += [left_axis(scale, x, x + width, count=4)]
        parts += _instance_bars(panel, tasks, colours, instances, scale, x, width)
    total = rows * (height + head + 16) - 8
    parts += [
        text(12, total / 2, axis, class_="title", text_anchor="middle",
             transform=f"rotate(-90 12 {total / 2:g})")
    ]  # fmt: skip
    return drawing(WIDTH, total, label, parts)


def _instance_bars(
    panel: Panel,
    tasks: Sequence[str],
    colours: Mapping[str, str],
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
        for column in columns:
            value = float(panel.values[column])
            title = tag("title", f"{instances[column]} ({name}): {value:.4g}")
            y = min(zero, scale(value))
            parts += [
                tag("rect", title, x=place, y=y, width=max(0.5, step * 0.82),
                    height=max(0.4, abs(scale(value) - zero)), style=f"fill:{colours[name]}")
            ]  # fmt: skip
            place += step
        mean = scale(float(panel.values[columns].mean()))
        parts += [line(start - 2, mean, place, mean, class_="mean")]
        place += space
    return parts


def stacked_shares(
    names: Sequence[str], *, colours: Mapping[str, str], order: Sequence[str], label: str, axis: str
) -> Markup:
    """Draw how the shares of the first k picks develop along the pick order.

    Args:
        names: what each pick belongs to, best pick first.
        colours: CSS colour of each name.
        order: names from bottom to top.
        label: for screen readers.
        axis: title of the horizontal axis.
    """
    height, left, right, top = 210.0, 48.0, WIDTH - 12, 10.0
    x = Scale(1.0, float(max(2, len(names))), left, right)
    y = Scale(0.0, 1.0, top + height, top)
    kept = sorted({1, *(round(len(names) * i / 240) for i in range(1, 241))} - {0})
    running = dict.fromkeys(order, 0)
    below: list[dict[str, float]] = []
    wanted = set(kept)
    for count, name in enumerate(names, start=1):
        running[name] += 1
        if count in wanted:
            total, levels = 0.0, {}
            for each in order:
                total += running[each] / count
                levels[each] = total
            below.append(levels)
    parts: list[Markup] = []
    floor = [0.0] * len(kept)
    for name in order:
        ceiling = [levels[name] for levels in below]
        upper = [(x(float(k)), y(v)) for k, v in zip(kept, ceiling, strict=True)]
        lower = [(x(float(k)), y(v)) for k, v in zip(kept, floor, strict=True)]
        if len(kept) == 1:
            upper, lower = [*upper, (right, upper[0][1])], [*lower, (right, lower[0][1])]
        title = tag("title", f"{name}: {100 * (ceiling[-1] - floor[-1]):.1f}% of all picks")
        shape = path([*upper, *reversed(lower)], closed=True, style=f"fill:{colours[name]}")
        parts += [tag("g", title, shape, class_="area")]
        floor = ceiling
    parts += [left_axis(y, left, right, as_percent=True)]
    parts += [bottom_axis(x, top + height, top + height, count=8)]
    parts += [text((left + right) / 2, top + height + 36, axis, class_="title",
                   text_anchor="middle")]  # fmt: skip
    return drawing(WIDTH, top + height + 44, label, parts)


def step_lines(
    steps: Sequence[float],
    rates: Sequence[float],
    epochs: Sequence[int],
    *,
    label: str,
) -> Markup:
    """Draw the warmup's loss (above) and learning rate (below) of each optimizer step.

    Args:
        steps: loss of each step.
        rates: learning rate of each step.
        epochs: epoch of each step; a vertical rule marks where a checkpoint was saved.
        label: for screen readers.
    """
    left, right = 66.0, WIDTH - 12
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
                text(x(end + 0.5) - 4, top + 10, f"checkpoint {n}", class_="tick",
                     text_anchor="end")
                for n, end in enumerate(ends, start=1)
            ]  # fmt: skip
        points = [(x(float(i)), y(value)) for i, value in enumerate(values, start=1)]
        parts += [path(points, class_="curve")]
        if len(points) <= 80:
            parts += [tag("circle", cx=a, cy=b, r=2.4, class_="point") for a, b in points]
        middle = top + height / 2
        parts += [text(12, middle, title, class_="title", text_anchor="middle",
                       transform=f"rotate(-90 12 {middle:g})")]  # fmt: skip
    parts += [bottom_axis(x, 254.0, 254.0, count=8)]
    parts += [text((left + right) / 2, 290, "optimizer step", class_="title",
                   text_anchor="middle")]  # fmt: skip
    return drawing(WIDTH, 298, label, parts)
