"""Third-party methods: their results are checked, and they are tried before a run.

Shapes: N training rows, M validation instances (columns), B picks.
"""

from __future__ import annotations

import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from bids_core.errors import BidsError, MethodError
from bids_core.influence.matrix import Matrix
from bids_core.selection.methods import METHODS
from bids_core.selection.request import Request
from bids_core.selection.result import NO_COLUMN, Picks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bids_core.data import PreparedData
    from bids_core.selection.methods import Method

_ROWS_TRIED: Final = 200
_WIDTH: Final = 8
"""Hidden size of the made-up representations of a trial."""


def run_method(method: Method, request: Request) -> Picks:
    """Return the picks of a method; those of a third-party method are checked.

    Args:
        method: from the table.
        request: what to select from.

    Raises:
        MethodError: it raises, or returns something other than B different rows of the pool.
        MatrixError: it needs something that the request lacks.
    """
    if method.code is None:
        return method.run(request)
    try:
        found = method.run(_read_only(request))
    except BidsError:
        raise
    except (Exception, SystemExit) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        msg = f"selection method {method.name!r} raised {what} ({_place(method, error)}); fix it"
        raise MethodError(msg) from error
    return _checked(method, request, found)


def _read_only(request: Request) -> Request:
    """Return the request with a read-only matrix: other methods read it too."""
    matrix = request.attribution
    if matrix is None or not isinstance(matrix.values, np.ndarray):
        return request
    values = matrix.values.view()
    values.flags.writeable = False
    return replace(request, attribution=replace(matrix, values=values))


def _place(method: Method, error: BaseException) -> str:
    """Return the last line of the method's own file in the error's traceback."""
    own = getattr(method.run, "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    mine = [frame for frame in frames if own is not None and frame.filename == own.co_filename]
    frame = (mine or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"


def _checked(method: Method, request: Request, found: Any) -> Picks:
    """Return picks with the same types as those of our own methods."""
    picks = found if isinstance(found, Picks) else Picks(found, None, None)  # type: ignore[arg-type]
    rows = _rows(method, picks.rows)
    if len(rows) != request.budget:
        raise _complaint(
            method, f"returned {len(rows)} instead of {request.budget} rows; fill the whole budget"
        )
    outside = rows[(rows < 0) | (rows >= request.n_rows)]
    if len(outside):
        raise _complaint(
            method, f"returned row {outside[0]}; the pool has rows 0 to {request.n_rows - 1}"
        )
    values, counts = np.unique(rows, return_counts=True)
    if counts.max() > 1:
        row = values[counts.argmax()]
        raise _complaint(method, f"returned row {row} {counts.max()} times; pick a row once")
    return Picks(
        rows,
        _utilities(method, picks.utilities, len(rows)),
        _columns(method, request, picks.columns, len(rows)),
        tuple(int(column) for column in picks.left_out),
    )


def _rows(method: Method, found: Any) -> npt.NDArray[np.int64]:
    try:
        rows = np.asarray(found)
    except ValueError:  # a ragged list of lists
        rows = np.empty(0, dtype=object)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        numbers = rows.ndim and rows.dtype != object
        what = f"{rows.dtype} of shape {rows.shape}" if numbers else type(found).__name__
        raise _complaint(
            method, f"returned {what}; return Picks, or the row numbers in pick order as integers"
        )
    return rows.astype(np.int64)


def _utilities(method: Method, found: Any, count: int) -> npt.NDArray[np.float64]:
    if found is None:
        return np.zeros(count)
    try:
        utilities = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise _complaint(method, f"returned utilities that are not numbers ({error})") from error
    if utilities.shape != (count,) or not np.isfinite(utilities).all():
        raise _complaint(
            method, f"returned utilities that are not {count} finite numbers, one per pick"
        )
    return utilities


def _columns(method: Method, request: Request, found: Any, count: int) -> npt.NDArray[np.int64]:
    if found is None:
        return np.full(count, NO_COLUMN, dtype=np.int64)
    columns = np.asarray(found)
    n_columns = request.n_columns
    fits = columns.shape == (count,) and columns.dtype.kind in "iu"
    if not fits or (columns < NO_COLUMN).any() or (columns >= n_columns).any():
        raise _complaint(
            method,
            f"returned winning columns that are not {count} numbers of validation instances, "
            f"from 0 to {n_columns - 1}, or {NO_COLUMN} for none",
        )
    return columns.astype(np.int64)


def _complaint(method: Method, what: str) -> MethodError:
    return MethodError(f"selection method {method.name!r} {what}")


def try_methods(
    names: Iterable[str], data: PreparedData, budget: int | float, *, normalization: str
) -> None:
    """Try the third-party methods on a few rows of a run, with made-up influence.

    A method that raises, or returns something other than picks, is then found before hours are
    spent on gradients. A method that cannot work on made-up numbers sets `trial=False`.

    Args:
        names: methods of a run.
        data: its prepared data.
        budget: its budget.
        normalization: its normalisation.

    Raises:
        UserError: a method fails; one line that names it and what is wrong.
    """
    for name in names:
        method = METHODS[name]
        if method.code is not None and method.trial:
            request = _trial_request(method, data, budget, normalization)
            try:
                run_method(method, request)
            except MethodError as error:
                msg = f"{error} (tried on {request.n_rows} of your rows, with made-up influence)"
                raise MethodError(msg) from error


def _trial_request(
    method: Method, data: PreparedData, budget: int | float, normalization: str
) -> Request:
    train = replace(data.train, frame=data.train.frame.head(_ROWS_TRIED))
    validation = data.validation.frame
    n_rows, n_columns = len(train), len(validation)
    draw = np.random.default_rng(0)
    share = budget * n_rows if isinstance(budget, float) else budget
    request = Request(
        method=method.name,
        n_rows=n_rows,
        budget=max(1, min(int(share), n_rows)),
        attribution=Matrix(draw.standard_normal((n_rows, n_columns)).astype(np.float32)),
        normalization=normalization,
        tasks=tuple(validation["task"]),
        subtasks=tuple(subtask or "" for subtask in validation["subtask"]),
        sources=tuple(train.frame["source"]),
    )
    if method.needs == "texts":
        return replace(
            request, texts=tuple(train.texts()), validation_texts=tuple(data.validation.texts())
        )
    if method.needs == "perplexities":
        return replace(request, perplexities=np.exp(draw.standard_normal(n_rows)))
    if method.needs in ("rds", "rds_plus"):
        return replace(
            request,
            representations=Matrix(draw.standard_normal((n_rows, _WIDTH))),
            validation_representations=Matrix(draw.standard_normal((n_columns, _WIDTH))),
        )
    return request
