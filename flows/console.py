"""The terminal: progress of the steps, tables of results."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from bids_core.planning.forecast import Forecast, about
from bids_core.progress import duration
from tasks.runtime.progress import describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import RenderableType

    from bids_core.planning.forecast import Work
    from bids_core.progress import Progress as Callback

_SECONDS_BETWEEN_LINES = 10.0


class ConsoleReporter:
    """A line a step: a bar while it runs on a terminal, a line every ten seconds elsewhere.

    Once it knows what the whole run has to do, it also says how long that still takes.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: _Bars | None = _Bars(console) if console.is_terminal else None
        self._forecast: Forecast | None = None
        self._said = time.monotonic()

    def expect(self, work: Work) -> None:
        """Take note of what the run has to do from here on."""
        self._forecast = Forecast(work)

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
            if self._forecast is not None and total:
                self._forecast.advance(label, share=done / total, seconds=now - started)
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
        """Take the bars off the terminal."""
        if self._live is not None:
            for bar in list(self._live.task_ids):
                self._live.remove_task(bar)
            self._live.stop()

    def _whole(self) -> str:
        """Return how long the whole run still takes, in words; blank where nothing is known."""
        left = None if self._forecast is None else self._forecast.seconds_left()
        if self._forecast is None or left is None:
            return ""
        beyond = f", without {self._forecast.beyond}" if self._forecast.beyond else ""
        return f"{about(left)} left of the whole run{beyond}"


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
        """Return what is shown."""
        yield from super().get_renderables()
        if getattr(self, "whole", ""):
            yield Text(f"  {self.whole}", style="dim")


def error_console() -> Console:
    """Return the console for progress and notes (standard error, so that --json stays clean)."""
    return Console(stderr=True, highlight=False, width=_width(sys.stderr.isatty()), soft_wrap=True)


def output_console() -> Console:
    """Return the console for results: words wrap on a terminal, lines stay whole in a pipe."""
    terminal = sys.stdout.isatty()
    return Console(highlight=False, width=_width(terminal), soft_wrap=not terminal)


def _width(is_terminal: bool) -> int | None:
    """Return the terminal's width, or a fixed one for files and pipes."""
    return None if is_terminal else 120


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Group:
    """Return a titled table; numbers are aligned right, None is shown as a dash."""
    made = Table(show_edge=False)
    content = [list(row) for row in rows]
    for index, column in enumerate(columns):
        numeric = any(isinstance(row[index], int | float) for row in content)
        made.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in content:
        made.add_row(*[Text(_shown(value)) for value in row])  # texts of data are never markup
    return Group(Text(title, style="bold"), made)


def _shown(value: object) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
