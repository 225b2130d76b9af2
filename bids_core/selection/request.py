"""What a selection method is given, and the checks on it.

Shapes: N training rows, M validation instances (columns), B budget.
"""

from __future__ import annotations

import difflib
import math
import numbers
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bids_core.errors import MatrixError
from bids_core.progress import silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bids_core.matrix import Matrix
    from bids_core.progress import Progress


@dataclass(frozen=True)
class Request:
    """Everything a method may use; each takes what it needs.

    Args:
        method: its name, for messages.
        matrix: [N, M] attribution.
        budget: number of picks B, from 1 to N.
        normalization: kind of normalisation, for methods that use one.
        tasks: M task names.
        subtasks: M subtask names.
        sources: N source names.
        seed: of random methods.
        progress: told about long loops.
    """

    method: str
    matrix: Matrix
    budget: int
    normalization: str = "zscore"
    tasks: tuple[str, ...] | None = None
    subtasks: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None
    seed: int = 0
    progress: Progress = silent

    def need_tasks(self) -> tuple[str, ...]:
        """Return the tasks.

        Raises:
            MatrixError: none were given.
        """
        if self.tasks is None:
            msg = f"method {self.method!r} needs `tasks`: the task of each validation instance"
            raise MatrixError(msg)
        return self.tasks

    def need_sources(self) -> tuple[str, ...]:
        """Return the sources.

        Raises:
            MatrixError: none were given.
        """
        if self.sources is None:
            msg = f"method {self.method!r} needs `sources`: the source of each training row"
            raise MatrixError(msg)
        return self.sources


def resolve_budget(budget: int | float, n_rows: int) -> int:
    """Return the number of picks.

    Args:
        budget: a count (integer), or a fraction of the pool in (0, 1] (float).
        n_rows: rows of the pool, N.

    Returns:
        Between 1 and N. A fraction is rounded down, as LESS does.

    Raises:
        MatrixError: the budget is out of range, or less than one row.
    """
    if isinstance(budget, bool) or not isinstance(budget, numbers.Real | np.number):
        msg = f"budget {budget!r} is not a number: give a count (500) or a fraction (0.15)"
        raise MatrixError(msg)
    if isinstance(budget, numbers.Integral):
        count = int(budget)
        if count < 1:
            msg = f"budget {count} selects nothing: give a count of at least 1"
            raise MatrixError(msg)
        if count > n_rows:
            msg = f"budget {count} is more than the {n_rows} rows of the matrix"
            raise MatrixError(msg)
        return count
    fraction = float(budget)
    if not 0 < fraction <= 1:
        msg = (
            f"budget {fraction:g} is not a fraction in (0, 1]; a count must be an integer "
            "(500, not 500.0)"
        )
        raise MatrixError(msg)
    count = math.floor(round(fraction * n_rows, 6))  # 0.29 * 100 is 28.999999999999996
    if count < 1:
        msg = f"budget {fraction:g} of {n_rows} rows is less than one row"
        raise MatrixError(msg)
    return count


def checked_names(
    names: Iterable[object] | None, length: int, what: str, of: str
) -> tuple[str, ...] | None:
    """Return names as strings, refusing another length.

    Raises:
        MatrixError: the number of names differs from `length`.
    """
    if names is None:
        return None
    checked = tuple(str(name) for name in names)
    if len(checked) != length:
        msg = f"{len(checked)} {what} were given for {length} {of}: one each is needed"
        raise MatrixError(msg)
    return checked


def unknown(kind: str, name: object, known: Sequence[str]) -> MatrixError:
    """Return the error for a name that is not known, with the nearest ones."""
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return MatrixError(f"unknown {kind} {name!r}: {hint}known are {', '.join(known)}")


def groups_of(*labels: Sequence[str]) -> list[npt.NDArray[np.int64]]:
    """Return the columns of each distinct label (or tuple of labels), in order of appearance."""
    found: dict[tuple[str, ...], list[int]] = {}
    for column, label in enumerate(zip(*labels, strict=True)):
        found.setdefault(label, []).append(column)
    return [np.array(columns, dtype=np.int64) for columns in found.values()]
