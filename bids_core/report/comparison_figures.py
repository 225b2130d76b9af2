"""The figures of a comparison, as inline SVG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bids_core.report.figures import MEDIUM, SMALL
from bids_core.report.svg import (
    FONT_WIDTH,
    WIDE,
    Scale,
    drawing,
    group,
    left_axis,
    line,
    marker,
    padded,
    path,
    tag,
    text,
    tick_label,
    upright,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from bids_core.report.names import Look


@dataclass(frozen=True, slots=True)
class Mark:
    """A value with its interval, a name for the tooltip, and a look."""

    name: str
    value: float
    low: float
    high: float
    look: Look


@dataclass(frozen=True, slots=True)
class Series:
    """One method over budgets: (training rows, mark) each."""

    name: str
    look: Look
    points: Sequence[tuple[int, Mark]]


def forest(
    rows: Sequence[tuple[str, Mark]], *, label: str, axis: str, width: float = WIDE
) -> Markup:
    """Draw differences with their intervals around zero, one per line.

    Args:
        rows: name and difference, from top to bottom.
        label: for screen readers.
        axis: title of the horizontal axis.
        width: of the drawing.
    """
    small = width < SMALL
    left = 10.0 if small else 24 + FONT_WIDTH * max(len(name) for name, _ in rows)
    ends = [end for _, mark in rows for end in (mark.low, mark.high)]
    scale = Scale(*padded(ends, zero=True), left, width - 16)
    pitch = 38.0 if small else 24.0
    bottom = 10.0 + pitch * len(rows)
    ticks = scale.ticks(4 if width < MEDIUM else 8)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    parts: list[Markup] = []
    for value in ticks:
        kind = "zero" if abs(value) < step * 1e-6 else "grid"
        x = scale(value)
        parts += [line(x, 8, x, bottom, class_=kind)]
        parts += [text(x, bottom + 16, tick_label(value, step), class_="tick",
                       text_anchor="middle")]  # fmt: skip
    for index, (name, mark) in enumerate(rows):
        y = (34.0 if small else 22.0) + pitch * index
        if small:
            parts += [text(left, y - 11, name, class_="name")]
        else:
            parts += [text(left - 12, y + 4, name, class_="name", text_anchor="end")]
        parts += [_mark(mark, scale(mark.low), scale(mark.value), scale(mark.high), y)]
    middle = (left + width - 16) / 2
    parts += [text(middle, bottom + 36, axis, class_="title", text_anchor="middle")]
    return drawing(width, bottom + 44, label, parts)


def _mark(mark: Mark, low: float, x: float, high: float, y: float) -> Markup:
    shown = f"{mark.name}: {mark.value:.2f} ({mark.low:.2f} to {mark.high:.2f})"
    return group(
        [
            tag("title", shown),
            line(low, y, high, y, style=f"stroke:{mark.look.colour}", class_="whisker"),
            marker(mark.look, x, y),
        ]
    )


def budget_lines(
    series: Sequence[Series],
    references: Sequence[Mark],
    *,
    label: str,
    axis: str,
    width: float = WIDE,
) -> Markup:
    """Draw the macro average of each method over the budgets; references as dashed lines.

    The budgets are equally spaced, in order; methods are shifted slightly so that their intervals
    do not overlap.

    Args:
        series: one per method.
        references: base model and full pool.
        label: for screen readers.
        axis: title of the vertical axis.
        width: of the drawing.
    """
    small = width < SMALL
    budgets = sorted({rows for one in series for rows, _ in one.points})
    height, left, right, top = 250.0, 66.0, width - (12 if small else 130), 14.0
    marks = [mark for one in series for _, mark in one.points] + list(references)
    ends = [end for mark in marks for end in (mark.low, mark.high)]
    y = Scale(*padded(ends), top + height, top)
    slot = (right - left) / max(1, len(budgets))
    centre = {rows: left + slot * (index + 0.5) for index, rows in enumerate(budgets)}
    parts = [left_axis(y, left, right, count=5, as_percent=y.high - y.low > 0.04)]
    for mark in references:
        parts += [
            group(
                [
                    tag("title", f"{mark.name}: {100 * mark.value:.1f}%"),
                    line(left, y(mark.value), right, y(mark.value), class_="mark"),
                    text(right - 4, y(mark.value) - 5, mark.name, class_="tick", text_anchor="end")
                    if small
                    else text(right + 8, y(mark.value) + 4, mark.name, class_="tick"),
                ]
            )
        ]
    shift = min(16.0, slot / (len(series) + 1))
    for index, one in enumerate(series):
        offset = shift * (index - (len(series) - 1) / 2)
        places = [(centre[rows] + offset, y(mark.value)) for rows, mark in one.points]
        if len(places) > 1:
            parts += [path(places, class_="curve", style=f"stroke:{one.look.colour}")]
        for (x, at), (_, mark) in zip(places, one.points, strict=True):
            shown = f"{mark.name}: {100 * mark.value:.1f}% ({100 * mark.low:.1f} to {100 * mark.high:.1f})"  # noqa: E501
            parts += [
                group(
                    [
                        tag("title", shown),
                        line(x, y(mark.low), x, y(mark.high),
                             style=f"stroke:{one.look.colour}", class_="whisker"),
                        marker(one.look, x, at),
                    ]
                )
            ]  # fmt: skip
    bottom = top + height
    parts += [
        text(x, bottom + 18, f"{rows:,}", class_="tick", text_anchor="middle")
        for rows, x in centre.items()
    ]
    parts += [line(left, bottom, right, bottom, class_="axis")]
    parts += [text((left + right) / 2, bottom + 38, "training rows", class_="title",
                   text_anchor="middle")]  # fmt: skip
    parts += [upright(12, top + height / 2, axis)]
    return drawing(width, bottom + 46, label, parts)
