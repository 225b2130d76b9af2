"""Tables of numbers that fit the page: few methods across the top, many down the side."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bids_core.report.svg import legend_mark
from bids_core.selection.names import method_label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup

    from bids_core.report.names import Look

MOST_ACROSS: Final = 4
"""Most methods shown side by side; if there are more, each gets its own line."""
_ROOM: Final = 800.0
"""Width of all columns but the first, in pixels; titles that need more are rotated."""


@dataclass(frozen=True, slots=True)
class Title:
    """Title of a line or column: its name, small print below it, and a marker."""

    name: str
    small: str = ""
    mark: Markup | str = ""


@dataclass(frozen=True, slots=True)
class GridLine:
    """One line: its title and its cells (`value`, `error`, `best`, and optionally `interval`)."""

    title: Title
    cells: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The table that the macro `grid` shows.

    Args:
        caption: of the table.
        corner: title of the first column.
        columns: titles of the others.
        lines: the body.
        totals: lines below it.
    """

    caption: str
    corner: str
    columns: Sequence[Title]
    lines: Sequence[GridLine]
    totals: Sequence[GridLine] = field(default=())

    @property
    def turned(self) -> bool:
        """Whether the columns' titles are rotated to run from bottom to top."""
        widths = [max(map(len, re.split(r"[ _/-]", t.name)), default=0) for t in self.columns]
        return sum(max(62.0, 26 + 7.6 * width) for width in widths) > _ROOM

    @property
    def even(self) -> bool:
        """Whether all columns have the same width, because their cells are bars."""
        return not self.turned and any(
            "share" in cell for line in self.lines for cell in line.cells
        )


def method_grid(
    methods: Sequence[str],
    looks: Mapping[str, Look],
    *,
    caption: str,
    lines: Sequence[GridLine],
    totals: Sequence[GridLine] = (),
    plain: GridLine | None = None,
) -> Grid:
    """Return a table of methods and tasks, transposed if there are many methods.

    Args:
        methods: M names.
        looks: of each.
        caption: of the table.
        lines: one per task, M cells each.
        totals: averages over the tasks, likewise.
        plain: a column that belongs to no method (the majority answer), one cell per line and
            total.
    """
    named = [Title(method_label(m), mark=legend_mark(looks[m])) for m in methods]
    across = [*lines, *totals]
    if len(methods) <= MOST_ACROSS:
        extra = [] if plain is None else [plain.title]
        cells = [None] * len(across) if plain is None else list(plain.cells)
        full = [
            GridLine(line.title, [*line.cells, *([] if cell is None else [cell])])
            for line, cell in zip(across, cells, strict=True)
        ]
        return Grid(
            caption=caption,
            corner="Task",
            columns=[*named, *extra],
            lines=full[: len(lines)],
            totals=full[len(lines) :],
        )
    order = [*totals, *lines]  # the averages first: a phone shows the first columns
    turned = [
        GridLine(title, [line.cells[place] for line in order]) for place, title in enumerate(named)
    ]
    below = [] if plain is None else [
        GridLine(plain.title, [*plain.cells[len(lines) :], *plain.cells[: len(lines)]])
    ]  # fmt: skip
    return Grid(
        caption=caption,
        corner="Method",
        columns=[line.title for line in order],
        lines=turned,
        totals=below,
    )
