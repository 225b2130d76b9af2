"""What `bids select` and `bids analyze` share: reading their files, showing warnings."""

from __future__ import annotations

import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.console import Console

    from bids_core.matrix_files import LabelledMatrix

_WIDTH = 120


def open_labelled(matrix: Path, tasks: Path | None, sources: Path | None) -> LabelledMatrix:
    """Read a matrix with the labels that the user gave, on top of those that it brings."""
    from bids_core.matrix_files import read_matrix, with_labels

    labelled = read_matrix(matrix)
    if tasks is not None:
        labelled = with_labels(labelled, tasks, of="tasks")
    if sources is not None:
        labelled = with_labels(labelled, sources, of="sources")
    return labelled


def output_console() -> Console:
    """Return the console for tables; wide where the output is not a terminal."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _WIDTH
    return Console(soft_wrap=True, highlight=False, width=width)


@contextmanager
def showing_warnings() -> Iterator[None]:
    """Print warnings about columns as lines on standard error; leave the others alone."""
    from rich.console import Console

    from bids_core.normalization import ColumnWarning

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    said: set[str] = set()
    for warning in caught:
        if str(warning.message) in said:
            continue
        said.add(str(warning.message))
        if issubclass(warning.category, ColumnWarning):
            console.print("[yellow]warning:[/] ", end="")
            console.print(str(warning.message), markup=False)
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
