"""Small helpers for inline SVG: escaped elements, a linear scale, axes.

Colours come from the style sheet (`var(--blue)`), so that one drawing works in both themes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bids_core.report.names import Look

WIDE = 960.0
"""Width of a drawing on a screen or on paper."""
HALF = 452.0
"""Width of a drawing beside another one."""
NARROW = 348.0
"""Width of the same drawing on a phone."""

FONT_WIDTH = 7.0
"""Mean width of a character at the style sheet's 12 px, for margins."""


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """Return an SVG element, with everything escaped.

    Args:
        name: of the element.
        *children: markup, or text that gets escaped.
        **attributes: underscores become hyphens, a trailing one is dropped; None is left out.
            Numbers have two decimals.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(escape(child) for child in children)
    return Markup(f"<{name}{written}>{inside}</{name}>")  # noqa: S704 - all parts are escaped


def _value(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return value


def group(children: Iterable[Markup], **attributes: object) -> Markup:
    """Return a group of elements."""
    return tag("g", *children, **attributes)


def drawing(width: float, height: float, label: str, children: Iterable[Markup]) -> Markup:
    """Return a complete drawing that scales with the page.

    Args:
        width: of the drawing's coordinates; the page may show it smaller.
        height: likewise.
        label: text alternative for screen readers.
        children: elements, later ones on top.
    """
    return tag(
        "svg",
        *children,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=label,
        xmlns="http://www.w3.org/2000/svg",
        style=f"max-width:{width:g}px",
    )


def responsive(draw: Callable[[float], Markup], *, wide: float = WIDE) -> Markup:
    """Draw for a screen and for a phone; the style sheet shows the one that fits.

    Args:
        draw: makes the drawing for a width.
        wide: width on a screen.
    """
    return tag("div", draw(wide), class_="wide") + tag("div", draw(NARROW), class_="narrow")


_SHAPES = {
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "triangle": ((0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)),
    "down": ((0.0, 1.2), (1.1, -0.8), (-1.1, -0.8)),
    "diamond": ((0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)),
    "plus": ((-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4),
             (0.4, 1.2), (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4)),
    "cross": ((-1.1, -0.6), (-0.6, -1.1), (0.0, -0.5), (0.6, -1.1), (1.1, -0.6), (0.5, 0.0),
              (1.1, 0.6), (0.6, 1.1), (0.0, 0.5), (-0.6, 1.1), (-1.1, 0.6), (-0.5, 0.0)),
    "star": tuple(
        (math.sin(math.pi * i / 5) * (1.35 if i % 2 == 0 else 0.6),
         -math.cos(math.pi * i / 5) * (1.35 if i % 2 == 0 else 0.6))
        for i in range(10)
    ),
}  # fmt: skip


def marker(look: Look, x: float, y: float, size: float = 4.5) -> Markup:
    """Return a look's marker at a position; `size` is its radius."""
    fill = "var(--bg)" if look.hollow else look.colour
    style = f"fill:{fill};stroke:{look.colour};stroke-width:{2 if look.hollow else 0.8}"
    if look.marker not in _SHAPES:
        return tag("circle", cx=float(x), cy=float(y), r=size, style=style)
    points = [(x + size * a, y + size * b) for a, b in _SHAPES[look.marker]]
    return path(points, closed=True, style=style)


def legend_mark(look: Look) -> Markup:
    """Return a look's marker for a legend or a table, at text size."""
    return tag(
        "svg", marker(look, 8.0, 8.0, 5.0), viewBox="0 0 16 16", class_="key", aria_hidden="true"
    )


def text(x: float, y: float, content: str, **attributes: object) -> Markup:
    """Return text at a position."""
    return tag("text", content, x=float(x), y=float(y), **attributes)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> Markup:
    """Return a straight line."""
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), **attributes)


def path(points: Sequence[tuple[float, float]], *, closed: bool = False, **more: object) -> Markup:
    """Return a polyline, or a filled polygon if `closed`."""
    joined = "L".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return tag("path", d=f"M{joined}{'Z' if closed else ''}", **more)


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from values to coordinates.

    Args:
        low: value at `start`.
        high: value at `end`; above `low`.
        start: coordinate.
        end: coordinate; may be less than `start` (upward axes).
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the coordinate of a value."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Return about `count` round values within the scale."""
        step = _round_step((self.high - self.low) / count)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def _round_step(raw: float) -> float:
    magnitude: float = 10.0 ** math.floor(math.log10(raw))
    return next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.999)


def padded(
    values: Iterable[float], *, zero: bool = False, share: float = 0.06
) -> tuple[float, float]:
    """Return a slightly wider range around the values; includes zero on request."""
    finite = [value for value in values if math.isfinite(value)] + ([0.0] if zero else [])
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    margin = share * (high - low)
    return low - (0.0 if zero and low == 0 else margin), high + (
        0.0 if zero and high == 0 else margin
    )


def tick_label(value: float, step: float) -> str:
    """Format a tick with as many decimals as its step needs, and a true minus sign."""
    if step < 1e-4 or abs(value) >= 1e6:
        shown = "0" if value == 0 else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    else:
        decimals = next(d for d in range(12) if abs(round(step, d) - step) < step * 1e-6)
        shown = f"{value:z,.{decimals}f}"
    return shown.replace("-", "\N{MINUS SIGN}")


def left_axis(
    scale: Scale, x: float, right: float, *, count: int = 4, as_percent: bool = False
) -> Markup:
    """Return horizontal grid lines with their values on the left."""
    ticks = scale.ticks(count)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    parts = []
    for value in ticks:
        y = scale(value)
        kind = "zero" if abs(value) < step * 1e-6 else "grid"
        shown = f"{100 * value:.0f}%" if as_percent else tick_label(value, step)
        parts += [line(x, y, right, y, class_=kind)]
        parts += [text(x - 6, y + 4, shown, class_="tick", text_anchor="end")]
    return group(parts)


def upright(x: float, y: float, content: str) -> Markup:
    """Return the title of a vertical axis, reading upwards."""
    turned = f"rotate(-90 {x:g} {y:g})"
    return text(x, y, content, class_="title", text_anchor="middle", transform=turned)


def bottom_axis(
    scale: Scale, y: float, top: float, *, count: int = 5, as_percent: bool = False
) -> Markup:
    """Return vertical grid lines with their values below."""
    ticks = scale.ticks(count)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    parts = []
    for value in ticks:
        x = scale(value)
        shown = f"{100 * value:.0f}%" if as_percent else tick_label(value, step)
        parts += [line(x, top, x, y, class_="grid")]
        parts += [text(x, y + 16, shown, class_="tick", text_anchor="middle")]
    return group(parts)
