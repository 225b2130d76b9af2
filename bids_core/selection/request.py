"""The input of a selection method, and the checks on it.

Shapes: N training rows, M validation instances (columns), B budget.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from bids_core.config.budget import parse_budget
from bids_core.errors import MatrixError, MissingInputError
from bids_core.influence.labels import Labels
from bids_core.influence.matrix import Matrix
from bids_core.own_code import function_name
from bids_core.progress import silent
from bids_core.registry import unknown_name
from bids_core.selection.arguments import names_in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bids_core.progress import Progress
    from bids_core.selection.arguments import Names

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """The inputs of one selection; each method takes what it needs.

    To select again with one change (without a task, without a checkpoint), change the request, so
    that everything else stays the same.

    Args:
        method: a name for `bids_core.selection.METHODS`, or a function.
        n_rows: rows of the pool, N.
        budget: number of picks B, from 1 to N.
        attribution: [N, M] influence.
        normalization: kind of normalisation, for methods that use one.
        tasks: M task names.
        subtasks: M subtask names.
        sources: N source names.
        row_ids: N names of the rows, if no matrix has them.
        validation_ids: M names of the validation instances, likewise.
        texts: N training texts.
        validation_texts: M validation texts.
        representations: [N, H] hidden states.
        validation_representations: [M, H] hidden states.
        perplexities: [N] perplexity of each row.
        seed: of random methods.
        progress: called during long loops.
    """

    method: str | Callable[[Request], Any]
    n_rows: int
    budget: int
    attribution: Matrix | None = None
    normalization: str = "zscore"
    tasks: tuple[str, ...] | None = None
    subtasks: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None
    row_ids: tuple[str, ...] | None = None
    validation_ids: tuple[str, ...] | None = None
    texts: tuple[str, ...] | None = None
    validation_texts: tuple[str, ...] | None = None
    representations: Matrix | None = None
    validation_representations: Matrix | None = None
    perplexities: npt.NDArray[np.float64] | None = None
    seed: int = 0
    progress: Progress = silent

    def with_attribution(self, attribution: Matrix) -> Request:
        """Return the same request with other influence for the same rows and instances."""
        return replace(self, attribution=attribution)

    def in_memory(self) -> Request:
        """Return the same request with the whole attribution matrix in memory."""
        if self.attribution is None or self.attribution.resident:
            return self
        values = self.attribution.take(np.arange(self.n_rows))
        return self.with_attribution(replace(self.attribution, values=values))

    def without_columns(self, dropped: npt.ArrayLike) -> Request:
        """Return the request without some validation instances and everything that belongs to them.

        Args:
            dropped: their columns.

        Raises:
            MatrixError: none would be left.
        """
        left_out = set(np.asarray(dropped, dtype=np.int64).tolist())
        kept = [column for column in range(self.n_columns) if column not in left_out]
        if not kept:
            msg = "no validation instance is left when all of them are left out"
            raise MatrixError(msg)
        states = self.validation_representations
        return replace(
            self,
            attribution=None if self.attribution is None else _columns(self.attribution, kept),
            tasks=_at(self.tasks, kept),
            subtasks=_at(self.subtasks, kept),
            validation_ids=_at(self.validation_ids, kept),
            validation_texts=_at(self.validation_texts, kept),
            validation_representations=None if states is None else Matrix(states.take(kept)),
        )

    @property
    def n_columns(self) -> int:
        """Number of validation instances M; 0 if no argument has any."""
        if self.attribution is not None:
            return self.attribution.n_columns
        if self.validation_representations is not None:
            return self.validation_representations.n_rows
        return len(self.validation_texts or self.tasks or self.subtasks or ())

    @property
    def labels(self) -> Labels:
        """The known names of rows and validation instances."""
        matrix = self.attribution
        return Labels(
            self.n_rows,
            self.n_columns or None,
            row_ids=self.row_ids if matrix is None else matrix.row_ids,
            validation_ids=self.validation_ids if matrix is None else matrix.validation_ids,
            tasks=self.tasks,
            subtasks=self.subtasks,
            sources=self.sources,
        )

    @property
    def matrix(self) -> Matrix:
        """The attribution matrix."""
        return self._need(self.attribution, "attribution", "an attribution matrix")

    @property
    def method_name(self) -> str:
        """The method's name; for a user's own, its function's name."""
        if isinstance(self.method, str):
            return function_name(self.method)
        return getattr(self.method, "__name__", type(self.method).__name__)

    def need_tasks(self) -> tuple[str, ...]:
        """Return the tasks, or raise if they are missing."""
        return self._need(self.tasks, "tasks", "the task of each validation instance")

    def need_sources(self) -> tuple[str, ...]:
        """Return the sources, or raise if they are missing."""
        return self._need(self.sources, "sources", "the source of each training row")

    def need_texts(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the training and validation texts, or raise if they are missing."""
        return (
            self._need(self.texts, "texts", "the text of each training row"),
            self._need(
                self.validation_texts, "validation_texts", "the text of each validation instance"
            ),
        )

    def need_representations(self) -> tuple[Matrix, Matrix]:
        """Return the training and validation hidden states, or raise if they are missing."""
        return (
            self._need(self.representations, "representations", "hidden states of training rows"),
            self._need(
                self.validation_representations,
                "validation_representations",
                "hidden states of validation instances",
            ),
        )

    def need_perplexities(self) -> npt.NDArray[np.float64]:
        """Return the perplexities, or raise if they are missing."""
        return self._need(self.perplexities, "perplexities", "the perplexity of each training row")

    def _need(self, value: T | None, name: str, what: str) -> T:
        if value is None:
            raise MissingInputError(f"method {self.method_name!r}", name, what)
        return value


def _columns(matrix: Matrix, kept: list[int]) -> Matrix:
    values = matrix.take(np.arange(matrix.n_rows))[:, kept]
    return Matrix(np.ascontiguousarray(values), matrix.row_ids, _at(matrix.validation_ids, kept))


def _at(names: Sequence[str] | None, kept: list[int]) -> tuple[str, ...] | None:
    return None if names is None else tuple(names[column] for column in kept)


def resolve_budget(budget: int | float | str, n_rows: int) -> int:
    """Return the number of picks.

    Args:
        budget: a count (integer), a fraction of the pool in (0, 1] (float), or either as text
            (`500`, `15%`).
        n_rows: rows of the pool, N.

    Returns:
        Between 1 and N. A fraction is rounded down, as LESS does.

    Raises:
        MatrixError: the budget is out of range, or less than one row.
    """
    if isinstance(budget, str):
        try:
            budget = parse_budget(budget)
        except ValueError as error:
            msg = f"budget {error}"
            raise MatrixError(msg) from error
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
    names: Names | None,
    length: int | None,
    what: str,
    of: str,
    ids: Sequence[str] | None = None,
) -> tuple[str, ...] | None:
    """Return names as strings in the order of the named rows or columns, checking their number.

    Args:
        names: in that order, by id, or in a file (`names_in_order`).
        length: how many there must be; None: any number.
        what: the argument, for messages.
        of: what they name, for messages.
        ids: of what they name.

    Raises:
        MatrixError: the number of names differs from `length`, or an id has none.
    """
    if names is None:
        return None
    found = names_in_order(names, ids, length, what=what.replace(" ", "_"), of=of)
    checked = tuple(str(name) for name in found)
    if length is not None and len(checked) != length:
        msg = f"{len(checked)} {what} were given for {length} {of}; give one for each"
        raise MatrixError(msg)
    return checked


def unknown(kind: str, name: object, known: Iterable[str]) -> MatrixError:
    """Return the error for an unknown name, with the nearest matches."""
    return MatrixError(unknown_name(kind, name, list(known)))


def groups_of(*labels: Sequence[str]) -> list[npt.NDArray[np.int64]]:
    """Return the columns of each distinct label (or tuple of labels), in order of appearance."""
    found: dict[tuple[str, ...], list[int]] = {}
    for column, label in enumerate(zip(*labels, strict=True)):
        found.setdefault(label, []).append(column)
    return [np.array(columns, dtype=np.int64) for columns in found.values()]
