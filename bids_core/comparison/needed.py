"""How many test rows or seeds it would take to detect the observed difference.

The variance of a mean difference over tasks is a sum of components: with S seeds and f times the
test rows it is V_seed + V_row / f; with g times the seeds and the same rows it is (V_seed + V_both)
/ g + V_row - V_both, where V_both is the interaction of rows and seeds. The difference is detected
if it is z standard errors from zero. With exactly that many rows, the next attempt succeeds half of
the time; with twice as many, four times in five.

Source: two-way random effects, Searle, Casella and McCulloch (1992), chapter 4, estimated by an
analysis of variance of each task's rows-by-seeds table.

Shapes: S seeds, n test rows of a task.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from bids_core.comparison.statistics import LEVEL, task_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Variance:
    """The components of the variance of a mean difference over tasks.

    Args:
        row: due to test rows, V_both included.
        seed: between seeds; 0 with one seed, which cannot show it.
        both: of single answers, due to neither row nor seed alone; 0 with one seed.
    """

    row: float
    seed: float
    both: float


@dataclass(frozen=True, slots=True)
class Needed:
    """What it would take to detect a difference that is as large as observed.

    Args:
        rows: test rows of all tasks together, with the current seeds; None if no number would do.
        seeds: seeds, with the current test rows; None if no number would do, or if there is only
            one seed, which gives no estimate.
    """

    rows: int | None
    seeds: int | None


def needed(
    differences: Mapping[str, npt.NDArray[np.float64]], *, level: float = LEVEL
) -> Needed | None:
    """Return how many test rows, or seeds, would detect the observed difference.

    Args:
        differences: of each task, [S, n]: first method minus second, by seed and test row.
        level: two-sided significance level of the interval that must exclude zero.

    Returns:
        An estimate; None if there is no difference, or a task has a single row.
    """
    n_rows = sum(values.shape[1] for values in differences.values())
    n_seeds = next(iter(differences.values())).shape[0]
    value = float(np.mean([values.mean() for values in differences.values()]))
    if abs(value) < 1e-12 or any(values.shape[1] < 2 for values in differences.values()):
        return None
    limit = (value / NormalDist().inv_cdf(1 - level / 2)) ** 2
    parts = variance(differences)
    rows = _times(parts.row, limit - parts.seed, n_rows)
    if n_seeds < 2:
        return Needed(rows, None)
    fixed = max(0.0, parts.row - parts.both)
    return Needed(rows, _times(parts.seed + parts.both, limit - fixed, n_seeds))


def variance(differences: Mapping[str, npt.NDArray[np.float64]]) -> Variance:
    """Return the variance components of the mean difference, averaged over tasks."""
    weights = task_weights(list(differences), None)
    row = both = 0.0
    for name, values_Sn in differences.items():
        n_seeds, n = values_Sn.shape
        row += weights[name] ** 2 * float(values_Sn.mean(axis=0).var(ddof=1)) / n
        if n_seeds > 1:
            rest = values_Sn - values_Sn.mean(axis=0) - values_Sn.mean(axis=1, keepdims=True)
            squares = float(((rest + values_Sn.mean()) ** 2).sum())
            both += weights[name] ** 2 * squares / ((n_seeds - 1) * (n - 1)) / (n_seeds * n)
    by_seed = np.sum([weights[k] * v.mean(axis=1) for k, v in differences.items()], axis=0)
    if len(by_seed) < 2:
        return Variance(row, 0.0, 0.0)
    between = float(by_seed.var(ddof=1)) / len(by_seed)
    return Variance(row, max(0.0, between - both), both)


def _times(part: float, room: float, n: int) -> int | None:
    """Return n * part / room, rounded up: the n at which `part` shrinks to `room`."""
    return max(1, math.ceil(n * part / room)) if room > 0 else None
