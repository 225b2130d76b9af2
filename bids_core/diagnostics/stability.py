"""How much the selection hangs on one checkpoint, one validation instance or one task.

Shapes: N training rows, M validation instances (columns), C checkpoints, B picks.
"""

from __future__ import annotations

import warnings
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bids_core.errors import MatrixError
from bids_core.matrix import Matrix, MatrixLike, as_matrix
from bids_core.normalization import ColumnWarning
from bids_core.progress import silent
from bids_core.selection import select
from bids_core.selection.request import checked_names, unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from bids_core.progress import Progress

Ints = npt.NDArray[np.int64]


def leave_one_out(
    attribution: MatrixLike,
    budget: int | float,
    *,
    by: str = "task",
    tasks: Sequence[str] | None = None,
    method: str = "bids",
    normalization: str = "zscore",
    progress: Progress = silent,
) -> pd.DataFrame:
    """Return how the selection changes when one task or validation instance is left out.

    Selects once per task (instance): for a matrix of 288,000 x 350 that is about a second each.

    Args:
        attribution: [N, M] influence.
        budget: as `bids_core.selection.select`.
        by: `task` or `instance`.
        tasks: M task names; needed for `task`.
        method: selection method; one that needs nothing but influence and tasks.
        normalization: as `select`.
        progress: told how many selections are made.

    Returns:
        Frame of lines left_out, columns (how many), kept (picks that stay), share_kept, jaccard.

    Raises:
        MatrixError: there is only one task (column), or something does not fit.
    """
    if by not in ("task", "instance"):
        raise unknown("thing to leave out", by, ("task", "instance"))
    matrix = as_matrix(attribution)
    names = checked_names(tasks, matrix.n_columns, "tasks", "validation instances")
    if by == "task" and names is None:
        msg = "leaving out tasks needs `tasks`: the task of each validation instance"
        raise MatrixError(msg)
    labels = np.array(names if by == "task" else range(matrix.n_columns))
    groups = list(dict.fromkeys(labels.tolist()))
    if len(groups) < 2:
        msg = f"nothing is left of a matrix of one {by} when it is left out"
        raise MatrixError(msg)

    def chosen(columns: Ints) -> Ints:
        part = Matrix(np.ascontiguousarray(matrix.take(np.arange(matrix.n_rows))[:, columns]))
        kept = None if names is None else [names[column] for column in columns]
        return _select(part, budget, method, normalization, kept)

    whole = chosen(np.arange(matrix.n_columns))
    lines = []
    for step, group in enumerate(groups):
        remaining = np.flatnonzero(labels != group)
        called = group if by == "task" else _instance_name(matrix, int(group))
        lines.append((called, matrix.n_columns - len(remaining), *_agree(whole, chosen(remaining))))
        progress(step + 1, len(groups))
    return _frame(lines, "columns")


def leave_out_checkpoints(
    per_checkpoint: Sequence[MatrixLike],
    weights: npt.ArrayLike,
    budget: int | float,
    *,
    tasks: Sequence[str] | None = None,
    method: str = "bids",
    normalization: str = "zscore",
) -> pd.DataFrame:
    """Return how the selection changes when one checkpoint is left out of the influence.

    Args:
        per_checkpoint: C matrices [N, M] of cosines, before weighting.
        weights: [C] checkpoint weights.
        budget: as `bids_core.selection.select`.
        tasks: M task names.
        method: selection method.
        normalization: as `select`.

    Returns:
        Frame of lines left_out (checkpoint, from 0), weight, kept, share_kept, jaccard.

    Raises:
        MatrixError: there are fewer than two checkpoints, or weights do not fit.
    """
    parts = [_values(matrix) for matrix in per_checkpoint]
    shares = np.asarray(weights, dtype=np.float64)
    if len(parts) < 2 or shares.shape != (len(parts),):
        msg = (
            f"{len(parts)} checkpoints and weights of shape {shares.shape}: at least two, one each"
        )
        raise MatrixError(msg)

    def chosen(kept: list[int]) -> Ints:
        total = sum(shares[c] * parts[c] for c in kept)
        return _select(as_matrix(total), budget, method, normalization, tasks)

    everything = list(range(len(parts)))
    whole = chosen(everything)
    lines = [
        (c, shares[c], *_agree(whole, chosen([k for k in everything if k != c])))
        for c in everything
    ]
    return _frame(lines, "weight")


def checkpoint_agreement(
    per_checkpoint: Sequence[MatrixLike], *, top: float = 0.05
) -> pd.DataFrame:
    """Return how far checkpoints agree on the influence: a weak warmup shows here.

    Args:
        per_checkpoint: C matrices [N, M].
        top: share of rows that count as a column's best.

    Returns:
        Frame of lines first, second (checkpoints, from 0), correlation (Pearson's, mean over
        columns), rank_correlation (Spearman's, mean over columns), top_shared (share of each
        column's best rows that both have, mean over columns; `top` would be chance).
    """
    import pandas as pd
    from scipy.stats import rankdata

    parts = [_values(matrix) for matrix in per_checkpoint]
    ranks = [rankdata(part, axis=0) for part in parts]
    count = max(1, int(top * len(parts[0])))
    bests = [np.argsort(-part, axis=0, kind="stable")[:count] for part in parts]
    lines = []
    for one, other in combinations(range(len(parts)), 2):
        shared = [
            len(np.intersect1d(bests[one][:, j], bests[other][:, j])) / count
            for j in range(parts[one].shape[1])
        ]
        lines.append((one, other, _correlation(parts[one], parts[other]),
                      _correlation(ranks[one], ranks[other]), float(np.mean(shared))))  # fmt: skip
    columns = ["first", "second", "correlation", "rank_correlation", "top_shared"]
    return pd.DataFrame(lines, columns=columns)


def _correlation(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """Return Pearson's correlation, mean over the columns that vary in both."""
    x, y = one - one.mean(axis=0), other - other.mean(axis=0)
    norms = np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    varies = norms > 0
    if not varies.any():
        return float("nan")
    return float(((x * y).sum(axis=0)[varies] / norms[varies]).mean())


def _select(
    matrix: Matrix,
    budget: int | float,
    method: str,
    normalization: str,
    tasks: Sequence[str] | None,
) -> Ints:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ColumnWarning)  # the whole selection has said it
        return select(
            matrix, budget, method=method, normalization=normalization, tasks=tasks
        ).indices


def _agree(whole: Ints, other: Ints) -> tuple[int, float, float]:
    kept = len(np.intersect1d(whole, other))
    return kept, kept / len(whole), kept / (len(whole) + len(other) - kept)


def _values(matrix: MatrixLike) -> npt.NDArray[np.float64]:
    opened = as_matrix(matrix)
    return opened.take(np.arange(opened.n_rows)).astype(np.float64)


def _instance_name(matrix: Matrix, column: int) -> str:
    return str(column) if matrix.validation_ids is None else str(matrix.validation_ids[column])


def _frame(lines: list[tuple[Any, ...]], second: str) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(lines, columns=["left_out", second, "kept", "share_kept", "jaccard"])
