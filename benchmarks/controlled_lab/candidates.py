"""Variants of BIDS that were tried and are not in the library: see docs/results/controlled.md.

Each changes the z-scores but not the loop, so it is `select` on the changed matrix without further
normalisation.

Shapes: N pool rows, M validation instances, K tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bids_core.normalization import normalize
from bids_core.selection import select

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

Floats = "npt.NDArray[np.float64]"
Ints = "npt.NDArray[np.int64]"

RIDGE = 0.1
SHARE = 0.5


def columns_of(tasks: Sequence[str]) -> list[list[int]]:
    """Return the columns of each task."""
    return [
        [place for place, task in enumerate(tasks) if task == name] for name in dict.fromkeys(tasks)
    ]


def task_means(z_NM: Floats, tasks: Sequence[str]) -> Floats:
    """Return each row's mean z-score on each task, [N, K]."""
    return np.stack([z_NM[:, columns].mean(1) for columns in columns_of(tasks)], axis=1)


def shrunk(z_NM: Floats, tasks: Sequence[str]) -> Floats:
    """Move each z-score halfway to its row's mean over the task."""
    moved = z_NM.copy()
    for columns in columns_of(tasks):
        mean = z_NM[:, columns].mean(1, keepdims=True)
        moved[:, columns] = (1 - SHARE) * z_NM[:, columns] + SHARE * mean
    return moved


def shrunk_by_agreement(z_NM: Floats, tasks: Sequence[str]) -> Floats:
    """Move z-scores towards the task's mean by one minus the mean correlation of its instances."""
    moved = z_NM.copy()
    for columns in columns_of(tasks):
        part = z_NM[:, columns]
        pairs = np.corrcoef(part.T)[np.triu_indices(len(columns), 1)]
        share = 1 - max(0.0, float(pairs.mean()))
        moved[:, columns] = (1 - share) * part + share * part.mean(1, keepdims=True)
    return moved


def task_columns(z_NM: Floats, tasks: Sequence[str]) -> Floats:
    """Return one column per task: its mean z-score, on its own scale."""
    return normalize(task_means(z_NM, tasks))


def whitened(z_NM: Floats, tasks: Sequence[str]) -> Floats:
    """Remove what the columns share, z (C + RIDGE)^(-1/2), then shrink to the task."""
    values, vectors = np.linalg.eigh(z_NM.T @ z_NM / len(z_NM))
    root = vectors * (np.maximum(values, 0) + RIDGE) ** -0.5 @ vectors.T
    return shrunk(z_NM @ root, tasks)


def vetoed(z_NM: Floats, tasks: Sequence[str]) -> Floats:
    """Rank rows below the mean on most tasks after all others."""
    lost = (task_means(z_NM, tasks) < 0).mean(1) > 0.5
    return z_NM - 1000.0 * lost[:, None]


CANDIDATES: dict[str, Callable[[Floats, Sequence[str]], Floats]] = {
    "try_shrunk": shrunk,
    "try_shrunk_by_agreement": shrunk_by_agreement,
    "try_task_columns": task_columns,
    "try_whitened": whitened,
    "try_vetoed": vetoed,
}


def pick_candidate(
    name: str, matrix_NM: npt.NDArray[np.float32], tasks: Sequence[str], budget: int
) -> Ints:
    """Return a candidate's picks, best first."""
    changed = CANDIDATES[name](normalize(matrix_NM), tasks)
    return select(changed, budget, normalization="none").indices
