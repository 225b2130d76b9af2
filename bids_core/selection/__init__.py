"""Selection: from an attribution matrix (or texts, or representations) to rows worth training on.

Read in this order: `methods` (the table of methods), `bids` and `best_rows` (the exact loop),
`scoring`, `round_robin`, `transport`, `signals` (the other methods), `result` (what is returned),
`checking` (third-party methods).

Shapes: N training rows, M validation instances (columns), H hidden size, B budget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bids_core.errors import MatrixError
from bids_core.influence.matrix import MatrixLike, as_matrix
from bids_core.influence.normalization import NORMALIZATIONS, prepare
from bids_core.progress import silent
from bids_core.selection.arguments import checked_method, checked_seed, opened
from bids_core.selection.checking import run_method
from bids_core.selection.lexical import bm25_scores
from bids_core.selection.methods import METHODS, Method, method_of, selection_method
from bids_core.selection.request import (
    Request,
    checked_names,
    resolve_budget,
    unknown,
)
from bids_core.selection.result import NO_COLUMN, Picks, Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bids_core.influence.files import LabelledMatrix
    from bids_core.progress import Progress
    from bids_core.selection.arguments import Names

__all__ = [
    "METHODS",
    "NO_COLUMN",
    "Method",
    "Picks",
    "Request",
    "Selection",
    "bm25_scores",
    "make_request",
    "resolve_budget",
    "run_request",
    "select",
    "selection_method",
]


def select(
    attribution: MatrixLike | LabelledMatrix | str | Path | None,
    budget: int | float | str,
    *,
    method: str | Callable[[Request], Any] = "bids",
    normalization: str = "zscore",
    tasks: Names | None = None,
    seed: int = 0,
    subtasks: Names | None = None,
    sources: Names | None = None,
    row_ids: Sequence[str] | None = None,
    validation_ids: Sequence[str] | None = None,
    texts: Sequence[str] | None = None,
    validation_texts: Sequence[str] | None = None,
    representations: MatrixLike | None = None,
    validation_representations: MatrixLike | None = None,
    perplexities: npt.ArrayLike | None = None,
    progress: Progress = silent,
) -> Selection:
    """Select the rows worth training on.

    Args:
        attribution: [N, M] influence of training row i on validation instance j: numpy array,
            torch tensor, Zarr array (read in pieces if large), pandas frame (its index and columns
            name the rows and validation instances), or the path of a matrix (.npy, .zarr, .parquet,
            .csv). None for methods that work on texts, representations or perplexities.
        budget: how many rows: a count (500), a fraction of N in (0, 1] (0.15), or text ("15%").
        method: one of `METHODS`, `package.module:function`, `file.py:function`, or a function; see
            docs/extend.md for its argument and result.
        normalization: one of `bids_core.influence.normalization.NORMALIZATIONS`; used by `bids`,
            `bids_cautious` and `instance_max`; the other methods are defined on raw influence.
        tasks: M task names of the validation instances, for methods that need them and for
            `Selection.to_frame`: a list in the order of the columns, a dictionary from validation
            id to task, or the path of a file with either. A matrix written by the pipeline has its
            own.
        seed: of random methods; the others are deterministic.
        subtasks: M subtask names, for `less`, `quota`, `bm25` and `rds`.
        sources: N source names of the rows, for `random_balanced` and `Selection.to_frame`, in
            the same forms as `tasks`.
        row_ids: N names of the rows; default: those in the matrix.
        validation_ids: M names of the validation instances; default: likewise.
        texts: N training texts, for `bm25` and `dsir`.
        validation_texts: M validation texts, for the same methods.
        representations: [N, H] hidden states of the rows, for `rds` and `rds_plus`.
        validation_representations: [M, H] hidden states of the instances, for the same methods.
        perplexities: [N] perplexity (or loss) of the rows, for `perplexity` and its bands.
        progress: called with how many picks have been made.

    Returns:
        The selection, best first. Its first k picks are the selection at budget k.

    Raises:
        MatrixError: the matrix or another argument cannot be used; the message says which.
        ConfigError: a third-party method cannot be imported.
        MethodError: a third-party method raises, or returns something other than B rows.

    Warns:
        ColumnWarning: validation instances that were left out, by name.

    Source: BIDS (arXiv 2501.12147); each method names its own.
    """
    return run_request(
        make_request(
            attribution, budget, method=method, normalization=normalization, tasks=tasks,
            subtasks=subtasks, sources=sources, row_ids=row_ids, validation_ids=validation_ids,
            texts=texts, validation_texts=validation_texts, representations=representations,
            validation_representations=validation_representations, perplexities=perplexities,
            seed=seed, progress=progress,
        )
    )  # fmt: skip


def run_request(request: Request) -> Selection:
    """Run a selection request: what `select` does after checking its arguments.

    Raises:
        MatrixError: an argument the method needs is missing, or the matrix has an entry that is not
            finite.
        ConfigError, MethodError: see `select`.
    """
    method = method_of(request.method)
    if request.attribution is not None and not method.normalized:
        # Refuse entries that are not finite, as the methods with a normalisation do.
        prepare(request.attribution, "none")
    picks = run_method(method, request)
    return Selection(
        indices=picks.rows,
        utilities=picks.utilities,
        winning_columns=picks.columns,
        method=method.name,
        normalization=request.normalization if method.normalized else "none",
        n_rows=request.n_rows,
        left_out=picks.left_out,
        labels=request.labels,
        seed=request.seed,
    )


def make_request(
    attribution: MatrixLike | LabelledMatrix | str | Path | None,
    budget: int | float | str,
    *,
    method: str | Callable[[Request], Any] = "bids",
    normalization: str = "zscore",
    tasks: Names | None = None,
    subtasks: Names | None = None,
    sources: Names | None = None,
    row_ids: Sequence[str] | None = None,
    validation_ids: Sequence[str] | None = None,
    texts: Sequence[str] | None = None,
    validation_texts: Sequence[str] | None = None,
    representations: MatrixLike | None = None,
    validation_representations: MatrixLike | None = None,
    perplexities: npt.ArrayLike | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Request:
    """Check that the arguments of `select` match each other, and return them as one object.

    Raises:
        MatrixError: they do not; the message says which.
    """
    checked_method(method)
    if isinstance(method, str) and method not in METHODS:
        raise MatrixError(METHODS.unknown(method))
    if normalization not in NORMALIZATIONS:
        raise unknown("normalization", normalization, NORMALIZATIONS)
    matrix = None
    if attribution is not None:
        labelled = opened(attribution, row_ids, validation_ids)
        matrix, labels = labelled.matrix, labelled.labels
        row_ids, validation_ids = matrix.row_ids, matrix.validation_ids
        tasks = labels.tasks if tasks is None else tasks
        subtasks = labels.subtasks if subtasks is None else subtasks
        sources = labels.sources if sources is None else sources
    train, validation = (
        None if states is None else as_matrix(states)
        for states in (representations, validation_representations)
    )
    losses = _checked_perplexities(perplexities)
    n_rows = _agreed_length(
        "training rows",
        attribution=None if matrix is None else matrix.n_rows,
        texts=None if texts is None else len(texts),
        representations=None if train is None else train.n_rows,
        perplexities=None if losses is None else len(losses),
        row_ids=None if row_ids is None else len(row_ids),
    )
    n_columns = _agreed_length(
        "validation instances",
        attribution=None if matrix is None else matrix.n_columns,
        validation_texts=None if validation_texts is None else len(validation_texts),
        validation_representations=None if validation is None else validation.n_rows,
    )
    if n_rows is None:
        msg = f"method {method!r} has nothing to select from: pass an attribution matrix"
        raise MatrixError(msg)
    columns, rows = "validation instances", "training rows"
    return Request(
        method=method,
        n_rows=n_rows,
        budget=resolve_budget(budget, n_rows),
        attribution=matrix,
        normalization=normalization,
        tasks=checked_names(tasks, n_columns, "tasks", columns, validation_ids),
        subtasks=checked_names(subtasks, n_columns, "subtasks", columns, validation_ids),
        sources=checked_names(sources, n_rows, "sources", rows, row_ids),
        row_ids=checked_names(row_ids, n_rows, "row ids", rows) if matrix is None else None,
        validation_ids=checked_names(validation_ids, n_columns, "validation ids", columns)
        if matrix is None
        else None,
        texts=checked_names(texts, n_rows, "texts", rows),
        validation_texts=checked_names(validation_texts, n_columns, "validation texts", columns),
        representations=train,
        validation_representations=validation,
        perplexities=losses,
        seed=checked_seed(seed),
        progress=progress,
    )


def _agreed_length(of: str, **lengths: int | None) -> int | None:
    """Return the length that all given inputs share, None if there is none."""
    given = {name: length for name, length in lengths.items() if length is not None}
    if len(set(given.values())) > 1:
        found = ", ".join(f"`{name}` {length}" for name, length in given.items())
        msg = f"the inputs disagree on the number of {of}: {found}"
        raise MatrixError(msg)
    return next(iter(given.values()), None)


def _checked_perplexities(values: npt.ArrayLike | None) -> npt.NDArray[np.float64] | None:
    if values is None:
        return None
    try:
        checked = np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError) as error:
        msg = f"the perplexities are not numbers: {error}"
        raise MatrixError(msg) from error
    if checked.ndim != 1 or not len(checked):
        msg = f"perplexities must be a non-empty list, not of shape {checked.shape}"
        raise MatrixError(msg)
    bad = np.flatnonzero(~np.isfinite(checked))
    if len(bad):
        msg = f"the perplexity of row {bad[0]} is {checked[bad[0]]}: it must be finite"
        raise MatrixError(msg)
    return checked
