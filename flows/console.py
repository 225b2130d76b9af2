"""The terminal: progress of the steps, tables of results."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from rich.cells import cell_len
from rich.console import Console, Group
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from bids_core.planning.forecast import Forecast, about
from bids_core.progress import duration
from tasks.runtime.progress import describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import ConsoleOptions, RenderableType

    from bids_core.planning.forecast import Work
    from bids_core.progress import Progress as Callback

_SECONDS_BETWEEN_LINES: Final = 10.0
_BORDER: Final = 3
"""Width of a column's padding and border."""
_IN_A_PIPE: Final = 120
_NARROWEST: Final = 20
"""In characters; a smaller `COLUMNS` is ignored."""
_LONGEST_WORD: Final = 32
"""Longest word; longer ones (paths, ids) are broken in a table."""


class ConsoleReporter:
    """One line per step: a bar while it runs on a terminal, a line every ten seconds elsewhere.

    Once it knows the work of the whole run, it also shows the time left.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: _Bars | None = _Bars(console) if console.is_terminal else None
        self._forecast: Forecast | None = None
        self._groups: dict[str, _Group] = {}
        self._said = time.monotonic()

    def expect(self, work: Work) -> None:
        """Take the work left in the run; if the speed is known, print how long it takes."""
        self._forecast = Forecast(work)
        self._groups = {}
        named: dict[str, _Group] = {}
        for label, (name, size) in work.groups.items():
            group = named.setdefault(name, _Group(name))
            group.sizes[label] = size
            self._groups[label] = group
        if work.tokens_per_second is not None and (left := self._forecast.seconds_left()):
            self._console.print(
                f"  This takes {about(left)}, less what the store has already.", highlight=False
            )

    @contextmanager
    def during(self, label: str, unit: str = "") -> Iterator[Callback]:
        """Show a step while the block runs."""
        started = time.monotonic()
        progress = self.step(label, unit)
        try:
            yield progress
        except BaseException:
            self.stop()
            raise
        self.end(label, seconds=time.monotonic() - started, cached=False)

    def step(self, label: str, unit: str) -> Callback:
        """Begin a step."""
        began = time.monotonic()
        group = self._groups.get(label)
        if group is None:
            show = self._show(label, unit)
        else:
            group.show = group.show or self._show(group.name, unit)
            show = group.show

        def progress(done: int, total: int) -> None:
            if self._forecast is not None and total:
                self._forecast.advance(label, share=done / total, seconds=time.monotonic() - began)
            if group is None:
                show(done, total)
            else:
                show(group.done + done, max(group.total, group.done + done))

        return progress

    def _show(self, label: str, unit: str) -> Callback:
        """Start showing a step, or several as one."""
        started = last = time.monotonic()
        bar: TaskID | None = None
        if self._live is not None:
            self._live.start()
            bar = self._live.add_task(label, total=None, words="")
        else:
            self._console.print(f"  {label} ...", highlight=False)

        def progress(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            words = describe(done, total, unit, now - started)
            if self._live is not None and bar is not None:
                self._live.update(bar, completed=done, total=total, words=words)
                self._live.whole = self._whole()
            elif now - last >= _SECONDS_BETWEEN_LINES and done:
                last = self._said = now
                whole = self._whole()
                self._console.print(
                    f"    {label}: {words}{'; ' if whole else ''}{whole}", highlight=False
                )

        return progress

    def end(self, label: str, *, seconds: float, cached: bool) -> None:
        """End a step."""
        if self._forecast is not None:
            self._forecast.finish(label, seconds=seconds, cached=cached)
        group = self._groups.get(label)
        if group is not None:
            group.end(label, seconds=seconds, cached=cached)
            if group.sizes:
                return  # more steps of the group are to come
            label, seconds, cached = group.name, group.seconds, not group.done
        self.stop()
        mark = "[dim]=[/]" if cached else "[green]✓[/]"
        how = "[dim]cached[/]" if cached else duration(seconds) if seconds >= 1 else "< 1 s"
        self._console.print(f"  {mark} {label}  {how}", highlight=False)
        now = time.monotonic()
        if self._live is not None:
            self._live.whole = self._whole()
        elif now - self._said >= _SECONDS_BETWEEN_LINES and (whole := self._whole()):
            self._said = now
            self._console.print(f"    {whole}", highlight=False)

    def stop(self) -> None:
        """Remove the bars from the terminal."""
        if self._live is not None:
            for bar in list(self._live.task_ids):
                self._live.remove_task(bar)
            self._live.stop()

    def _whole(self) -> str:
        """Return the time left in the whole run, in words; blank if unknown."""
        left = None if self._forecast is None else self._forecast.seconds_left()
        if self._forecast is None or left is None:
            return ""
        beyond = f", without {self._forecast.beyond}" if self._forecast.beyond else ""
        return f"{about(left)} left of the whole run{beyond}"


@dataclass
class _Group:
    """Steps shown as one.

    Args:
        name: of the group.
        sizes: of the steps still to come, by label.
        done: size of the steps already computed.
        seconds: time these took.
        show: shows the group's progress, once the first step has begun.
    """

    name: str
    sizes: dict[str, int] = field(default_factory=dict)
    done: int = 0
    seconds: float = 0.0
    show: Callback | None = None

    @property
    def total(self) -> int:
        """Size of the computed part and the rest together."""
        return self.done + sum(self.sizes.values())

    def end(self, label: str, *, seconds: float, cached: bool) -> None:
        """Record that a step is finished."""
        size = self.sizes.pop(label, 0)
        if not cached:
            self.done += size
            self.seconds += seconds


class _Bars(Progress):
    """The bars of the running steps, and a line about the whole run below them."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            TextColumn("  [cyan]{task.description}[/]"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[words]}"),
            console=console,
            transient=True,
        )
        self.whole = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return the bars and the line."""
        yield from super().get_renderables()
        if getattr(self, "whole", ""):
            yield Text(f"  {self.whole}", style="dim")


def error_console() -> Console:
    """Return the console for progress and notes (standard error, so that --json stays clean)."""
    return Console(stderr=True, highlight=False, width=_width(sys.stderr.isatty()), soft_wrap=True)


def output_console() -> Console:
    """Return the console for results: text wraps on a terminal, lines stay whole in a pipe."""
    terminal = sys.stdout.isatty()
    return Console(highlight=False, width=_width(terminal), soft_wrap=not terminal)


def _width(is_terminal: bool) -> int | None:
    """Return the terminal's width; for files and pipes `COLUMNS`, or a fixed width."""
    if is_terminal:
        return None
    said = os.environ.get("COLUMNS", "")
    return int(said) if said.isdecimal() and int(said) >= _NARROWEST else _IN_A_PIPE


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Group:
    """Return a titled table; numbers are right-aligned, None is shown as a dash.

    If it is too wide, each row becomes a paragraph, so that no word is broken.
    """
    return Group(Text(title, style="bold"), _Fitting(columns, [list(row) for row in rows]))


class _Fitting:
    """Rows as a table if it fits, otherwise one paragraph per row."""

    def __init__(self, columns: Sequence[str], rows: list[list[object]]) -> None:
        self._columns, self._rows = columns, rows
        self._cells = [[_shown(value) for value in row] for row in rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        widths = self._widths(options.max_width)
        if widths is None:
            yield from self._paragraphs()
            return
        made = Table(show_edge=False)
        for index, (column, width) in enumerate(zip(self._columns, widths, strict=True)):
            numeric = any(isinstance(row[index], int | float) for row in self._rows)
            justify: Literal["right", "left"] = "right" if numeric else "left"
            made.add_column(column, justify=justify, overflow="fold", width=width)
        for cells in self._cells:
            made.add_row(*map(Text, cells))  # text from data is never markup
        yield made

    def _widths(self, width: int) -> list[int] | None:
        """Return the columns' widths, None if a word would be broken."""
        texts = [(head, *cells) for head, *cells in zip(self._columns, *self._cells, strict=True)]
        words = [[len(word) for text in column for word in text.split()] for column in texts]
        least = [min(max(lengths, default=1), _LONGEST_WORD) for lengths in words]
        wanted = [max(map(cell_len, column)) for column in texts]
        left = width - _BORDER * len(least) - sum(least)
        if left < 0:
            return None
        found = dict(enumerate(least))
        # the rest is divided equally, columns that need little first
        by_need = sorted(found, key=lambda index: wanted[index] - least[index])
        for place, index in enumerate(by_need):
            more = min(max(0, wanted[index] - least[index]), left // (len(by_need) - place))
            found[index] += more
            left -= more
        return list(found.values())

    def _paragraphs(self) -> Iterator[Text | Padding]:
        for first, *others in self._cells:
            yield Text(f"{self._columns[0]} {first}", style="bold")
            pairs = zip(self._columns[1:], others, strict=True)
            said = ", ".join(f"{head} {cell}" for head, cell in pairs)
            yield Padding(Text(said), (0, 0, 0, 2))


def _shown(value: object) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
