"""Which validation instances and tasks a set of rows influences most: AID and THI.

Shapes: N training rows, M validation instances (columns), K tasks, B rows in a set.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bids_core.errors import MatrixError
from bids_core.influence.matrix import Matrix, MatrixLike, as_matrix
from bids_core.influence.normalization import ColumnWarning, prepare, sum_columns
from bids_core.selection.request import checked_names, groups_of, unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def average_influence_distribution(
    attribution: MatrixLike, indices: npt.ArrayLike | None = None
) -> Floats:
    """Return the AID: the mean row of the matrix over a set of rows.

    Args:
        attribution: [N, M] influence, raw or normalised (`bids_core.normalization.normalize`).
        indices: [B] rows of the set, for example `Selection.indices`; default: the whole pool.

    Returns:
        [M] float64.

    Raises:
        MatrixError: the matrix is invalid, or an index is out of range.

    Source: BIDS (arXiv 2501.12147), section on the bias of influence (AID).
    """
    part = rows_of(as_matrix(attribution), indices)
    return sum_columns(part, lambda block, out: np.copyto(out, block)) / part.n_rows


def task_highest_influence(
    attribution: MatrixLike,
    tasks: Iterable[str],
    indices: npt.ArrayLike | None = None,
    by: str = "task_mean",
) -> pd.Series[int]:
    """Return the THI: for each task, how many rows of a set influence it more than any other task.

    Args:
        attribution: [N, M] influence, raw or normalised.
        tasks: M task names of the validation instances.
        indices: [B] rows of the set; default: the whole pool.
        by: `task_mean` (task with the highest mean influence over its instances) or `instance`
            (task of the instance with the highest influence). Ties go to the task that appears
            first.

    Returns:
        Counts indexed by task, in order of appearance; they sum to the size of the set.

    Raises:
        MatrixError: the matrix, the tasks or `by` is invalid.

    Source: BIDS (arXiv 2501.12147), section on the bias of influence (THI).
    """
    import pandas as pd

    if by not in ("task_mean", "instance"):
        raise unknown("form of THI", by, ("task_mean", "instance"))
    matrix = as_matrix(attribution)
    names = checked_names(tasks, matrix.n_columns, "tasks", "validation instances") or ()
    winners = highest_task(rows_of(matrix, indices), names, by=by)
    order = list(dict.fromkeys(names))
    counts = np.bincount(winners, minlength=len(order))
    return pd.Series(counts, index=pd.Index(order, name="task"), name="rows")


def highest_task(matrix: Matrix, tasks: tuple[str, ...], *, by: str = "task_mean") -> Ints:
    """Return the task that each row influences most.

    Args:
        matrix: [N, M].
        tasks: M task names.
        by: see `task_highest_influence`.

    Returns:
        [N] int64, the index of the task in order of appearance.
    """
    groups = groups_of(tasks)
    task_of = np.empty(len(tasks), dtype=np.int64)
    for place, columns in enumerate(groups):
        task_of[columns] = place
    found = np.empty(matrix.n_rows, dtype=np.int64)
    for start, block in matrix.blocks():
        if by == "instance":
            winner = task_of[block.argmax(axis=1)]
        else:
            winner = task_means(block, groups).argmax(axis=1)
        found[start : start + len(block)] = winner
    return found


def task_means(block: npt.NDArray[Any], groups: list[Ints]) -> Floats:
    """Return the means over the columns of each group, [R, K]."""
    means = [np.take(block, columns, axis=1).mean(axis=1, dtype=np.float64) for columns in groups]
    return np.stack(means, axis=1)


def rows_of(matrix: Matrix, indices: npt.ArrayLike | None) -> Matrix:
    """Return the given rows as a matrix in memory, or the matrix itself if `None`.

    Raises:
        MatrixError: there are no indices, or one is not a row of the matrix.
    """
    if indices is None:
        return matrix
    rows = np.asarray(indices)
    if rows.ndim != 1 or not len(rows) or rows.dtype.kind not in "iu":
        msg = f"row indices must be a non-empty list of integers, not {rows.dtype} {rows.shape}"
        raise MatrixError(msg)
    outside = rows[(rows < 0) | (rows >= matrix.n_rows)]
    if len(outside):
        msg = f"row index {outside[0]} is outside the {matrix.n_rows} rows of the matrix"
        raise MatrixError(msg)
    return Matrix(matrix.take(rows), validation_ids=matrix.validation_ids)


def aid_table(
    attribution: MatrixLike,
    indices: npt.ArrayLike | None = None,
    *,
    tasks: Iterable[str] | None = None,
    normalization: str = "zscore",
) -> pd.DataFrame:
    """Return the AID of a set of rows per validation instance, raw and normalised.

    Args:
        attribution: [N, M] influence.
        indices: [B] rows of the set; default: the whole pool.
        tasks: M task names.
        normalization: of the columns, over the whole pool, as for the selection.

    Returns:
        Frame of M lines: column, validation_id, task, aid, normalized_aid (NaN for columns without
        spread).
    """
    return aid_tables(attribution, {"": indices}, tasks=tasks, normalization=normalization)[""]


def aid_tables(
    attribution: MatrixLike,
    sets: Mapping[str, npt.ArrayLike | None],
    *,
    tasks: Iterable[str] | None = None,
    normalization: str = "zscore",
) -> dict[str, pd.DataFrame]:
    """Return the `aid_table` of several sets of rows; columns are normalised only once.

    Args:
        attribution: [N, M] influence.
        sets: [B] rows of each set, by name; None for the whole pool.
        tasks: M task names.
        normalization: see `aid_table`.
    """
    import pandas as pd

    matrix = as_matrix(attribution)
    names = checked_names(tasks, matrix.n_columns, "tasks", "validation instances")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ColumnWarning)  # the result has NaN there
        prepared, scale = prepare(matrix, normalization)
    tables = {}
    for name, rows in sets.items():
        raw = average_influence_distribution(matrix, rows)
        base = raw if prepared is matrix else average_influence_distribution(prepared, rows)
        ids = [str(n) for n in matrix.validation_ids or range(matrix.n_columns)]
        tables[name] = pd.DataFrame(
            {
                "column": np.arange(matrix.n_columns),
                "validation_id": ids,
                "task": pd.Series(names or ["all"] * matrix.n_columns, dtype="str"),
                "aid": raw,
                # The mean of an affine map is the map of the mean.
                "normalized_aid": np.where(scale.usable, scale.apply(base), np.nan),
            }
        )
    return tables


def aid_imbalance(table: pd.DataFrame, *, value: str = "normalized_aid") -> float:
    """Return the mean absolute difference in AID between tasks; 0 is perfect balance.

    Args:
        table: from `aid_table`.
        value: column to use, `normalized_aid` or `aid`.

    Returns:
        Mean over all pairs of tasks of the absolute difference between their mean AIDs; NaN for one
        task.

    Source: BIDS (arXiv 2501.12147), which reports 0.204 for LESS and 0.108 for BIDS.
    """
    return mean_difference(table.groupby("task", sort=False)[value].mean().dropna())


def mean_difference(means: npt.ArrayLike) -> float:
    """Return the mean absolute difference between values, over all pairs; NaN for fewer than two.

    Args:
        means: [K] values, one per task.
    """
    values = np.asarray(means, dtype=np.float64)
    if len(values) < 2:
        return float("nan")
    differences = np.abs(values[:, None] - values)
    return float(differences.sum() / (len(values) * (len(values) - 1)))
