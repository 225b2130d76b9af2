"""How much the selection depends on single checkpoints, validation instances and tasks.

Shapes: N training rows, M validation instances (columns), C checkpoints, B picks.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from bids_core.errors import MatrixError, MissingInputError
from bids_core.influence.matrix import Matrix, MatrixLike, as_matrix
from bids_core.influence.normalization import ColumnWarning, prepare
from bids_core.progress import silent
from bids_core.selection import run_request
from bids_core.selection.bids import first_lists, pick_from
from bids_core.selection.request import unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd

    from bids_core.progress import Progress
    from bids_core.selection import Request

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_BLOCK_BYTES: Final = 1 << 28
"""Bytes of columns ranked at once, over all checkpoints, in float64."""


def leave_one_out(
    request: Request, *, by: str = "task", progress: Progress = silent
) -> pd.DataFrame:
    """Return how a selection changes when one task or validation instance is left out.

    Selects once per task (instance), with everything else as in the selection; `bids` sorts the
    columns only once.

    Args:
        request: the selection's request (`bids_core.selection.make_request`).
        by: `task` or `instance`.
        progress: called with the number of selections made.

    Returns:
        Frame with columns left_out, columns (how many), kept (picks that stay), share_kept,
        jaccard.

    Raises:
        MatrixError: there is only one task (column), or nothing usable is left without one.
    """
    if by not in ("task", "instance"):
        raise unknown("thing to leave out", by, ("task", "instance"))
    if by == "task" and request.tasks is None:
        what = "the task of each validation instance"
        raise MissingInputError("leaving out tasks", "tasks", what)
    labels = np.array(request.tasks if by == "task" else range(request.n_columns))
    groups = list(dict.fromkeys(labels.tolist()))
    if len(groups) < 2:
        msg = f"the matrix has only one {by}; leaving it out leaves nothing"
        raise MatrixError(msg)

    whole, without = _selector(replace(request, progress=silent))
    lines = []
    for step, group in enumerate(groups):
        dropped = np.flatnonzero(labels == group)
        called = group if by == "task" else _instance_name(request, int(group))
        lines.append((called, len(dropped), *_agree(whole, without(dropped))))
        progress(step + 1, len(groups))
    return _frame(lines, "columns")


def _selector(request: Request) -> tuple[Ints, Callable[[Ints], Ints]]:
    """Return the full selection, and a function that selects without the given columns.

    For `bids`, each column's scale and list of best rows are computed once, because they do not
    depend on the other columns.
    """
    if request.method == "bids":
        with _quiet():
            best = first_lists(*prepare(request.matrix, request.normalization), request.budget)

        def bids_without(dropped: Ints) -> Ints:
            fresh = best.without(dropped)
            if not fresh.scale.usable.any():
                msg = "leaving it out leaves no column that can be normalised"
                raise MatrixError(msg)
            return pick_from(fresh, request.budget).rows

        return bids_without(np.empty(0, dtype=np.int64)), bids_without
    whole, held = _picks(request), request.in_memory()
    return whole, lambda dropped: _picks(held.without_columns(dropped))


def leave_out_checkpoints(
    request: Request, *, per_checkpoint: Sequence[MatrixLike], weights: npt.ArrayLike
) -> pd.DataFrame:
    """Return how a selection changes when one checkpoint is left out of the influence.

    The others keep their proportions: their weights are rescaled to the same sum.

    Args:
        request: the selection's request (`bids_core.selection.make_request`); its influence is the
            weighted sum over all checkpoints.
        per_checkpoint: C matrices [N, M], the influence at each checkpoint, before weighting.
        weights: [C] checkpoint weights.

    Returns:
        Frame with columns left_out (checkpoint, from 0), weight, kept, share_kept, jaccard.

    Raises:
        MatrixError: there are fewer than two checkpoints, or the shapes of matrices or weights do
            not match.
    """
    parts = [as_matrix(matrix) for matrix in per_checkpoint]
    shares = np.asarray(weights, dtype=np.float32)
    if len(parts) < 2 or shares.shape != (len(parts),):
        msg = (
            f"{len(parts)} checkpoints and weights of shape {shares.shape}: at least two, one each"
        )
        raise MatrixError(msg)
    shape = (request.n_rows, request.n_columns)
    for place, part in enumerate(parts):
        if (part.n_rows, part.n_columns) != shape:
            msg = f"checkpoint {place} is [{part.n_rows}, {part.n_columns}], the matrix {shape}"
            raise MatrixError(msg)
    plain = replace(request, progress=silent)
    whole = _picks(plain)
    lines = []
    for left_out in range(len(parts)):
        kept = [c for c in range(len(parts)) if c != left_out]
        rest = shares[kept].sum()
        scaled = shares * (shares.sum() / rest) if rest > 0 else shares
        matrix = replace(plain.matrix, values=_weighted_sum(parts, scaled, kept))
        other = _picks(plain.with_attribution(matrix))
        lines.append((left_out, shares[left_out], *_agree(whole, other)))
    return _frame(lines, "weight")


def _weighted_sum(
    parts: Sequence[Matrix], weights: npt.NDArray[np.float32], kept: Sequence[int]
) -> npt.NDArray[np.float32]:
    """Return the weighted sum of the given checkpoints, [N, M]."""
    total = np.zeros((parts[0].n_rows, parts[0].n_columns), dtype=np.float32)
    for c in kept:
        for start, block in parts[c].blocks():
            total[start : start + len(block)] += weights[c] * block
    return total


def checkpoint_agreement(
    per_checkpoint: Sequence[MatrixLike], *, top: float = 0.05
) -> pd.DataFrame:
    """Return how well checkpoints agree on the influence; a weak warmup shows here.

    Args:
        per_checkpoint: C matrices [N, M].
        top: fraction of rows that count as a column's best.

    Returns:
        Frame with columns first, second (checkpoints, from 0), correlation (Pearson's, mean over
        columns), rank_correlation (Spearman's, mean over columns), top_shared (fraction of each
        column's best rows that both share, mean over columns; chance is `top`).
    """
    import pandas as pd
    from scipy.stats import rankdata

    parts = [as_matrix(matrix) for matrix in per_checkpoint]
    n_rows, n_columns = parts[0].n_rows, parts[0].n_columns
    count = max(1, int(top * n_rows))
    width = max(1, _BLOCK_BYTES // (8 * n_rows * len(parts)))
    found: dict[tuple[int, int], list[Floats]] = {}
    for start in range(0, n_columns, width):
        columns = slice(start, start + width)
        values = [_columns(part, columns) for part in parts]
        ranks = [rankdata(block, axis=0) for block in values]
        bests = [np.argsort(-block, axis=0, kind="stable")[:count] for block in values]
        for one, other in combinations(range(len(parts)), 2):
            shared = [
                len(np.intersect1d(bests[one][:, j], bests[other][:, j])) / count
                for j in range(values[one].shape[1])
            ]
            found.setdefault((one, other), []).append(
                np.array([_correlations(values[one], values[other]),
                          _correlations(ranks[one], ranks[other]), shared])
            )  # fmt: skip
    lines = []
    for pair, blocks in found.items():
        correlation, rank_correlation, top_shared = np.concatenate(blocks, axis=1)
        lines.append((*pair, _mean(correlation), _mean(rank_correlation), float(top_shared.mean())))
    names = ["first", "second", "correlation", "rank_correlation", "top_shared"]
    return pd.DataFrame(lines, columns=names)


def _columns(matrix: Matrix, columns: slice) -> Floats:
    """Return the given columns in float64, [N, m]."""
    return np.concatenate([block[:, columns].astype(np.float64) for _, block in matrix.slabs()])


def _correlations(one: Floats, other: Floats) -> Floats:
    """Return Pearson's correlation of each column; NaN where either does not vary."""
    x, y = one - one.mean(axis=0), other - other.mean(axis=0)
    norms = np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    sums: Floats = (x * y).sum(axis=0)
    found = np.full(len(norms), np.nan)
    np.divide(sums, norms, out=found, where=norms > 0)
    return found


def _mean(values: Floats) -> float:
    """Return the mean over the columns that vary in both; NaN if there is none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _picks(request: Request) -> Ints:
    with _quiet():
        return run_request(request).indices


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress warnings about columns left out, which the full selection has given already."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ColumnWarning)
        yield


def _agree(whole: Ints, other: Ints) -> tuple[int, float, float]:
    kept = len(np.intersect1d(whole, other))
    return kept, kept / len(whole), kept / (len(whole) + len(other) - kept)


def _instance_name(request: Request, column: int) -> str:
    ids = None if request.attribution is None else request.attribution.validation_ids
    return str(column) if ids is None else str(ids[column])


def _frame(lines: list[tuple[Any, ...]], second: str) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(lines, columns=["left_out", second, "kept", "share_kept", "jaccard"])
