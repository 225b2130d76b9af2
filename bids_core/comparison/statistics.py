"""All statistics of comparisons: paired bootstrap, Wilson's interval, Holm's correction.

The bootstrap is paired and has two levels: every draw resamples the test rows of each task and the
seeds with replacement, identically for both methods, so what the two have in common cancels. The
tasks are fixed: an interval holds for these tasks only. With S seeds the resampled variance between
seeds is (S-1)/S of the true one, so intervals over two or three seeds are somewhat too narrow; with
one seed they leave it out entirely.

Source: percentile intervals, Efron and Tibshirani (1993), chapter 13; two levels, Davison and
Hinkley (1997), section 3.8; Wilson (1927); Holm (1979).

Shapes: S seeds, R bootstrap draws, n test rows of a task.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

DRAWS: Final = 4000
"""Bootstrap draws: the ends of a 95% interval then vary by a few hundredths of its width."""
LEVEL: Final = 0.05
"""An adjusted p-value below this is called significant."""
Z95: Final = 1.959963984540054
"""97.5% quantile of the normal distribution."""
_DRAWS_PER_TEST: Final = 80
"""Keeps 2/R, the smallest p-value of R draws, at half of `LEVEL` or less after Holm's
correction."""
_CHUNK: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95% interval and p-value.

    Args:
        value: the estimate from the data themselves, without resampling.
        low: 2.5% quantile of the draws.
        high: 97.5% quantile of the draws.
        p_value: two-sided: twice the share of draws on the other side of zero (plus one draw), but
            never less than an exact test could give with as few differing rows.
        n_rows: number of test rows, all tasks together.
        n_seeds: number of seeds.
    """

    value: float
    low: float
    high: float
    p_value: float
    n_rows: int
    n_seeds: int


def paired_interval(
    differences: Mapping[str, npt.NDArray[np.float64]],
    *,
    groups: Sequence[Sequence[str]] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Return the mean difference over tasks with its bootstrap interval.

    Args:
        differences: for each task, [S, n]: first method minus second, by seed and test row.
        groups: tasks to average first (capabilities); None to weight all tasks equally.
        draws: R.
        seed: of the draws.

    Raises:
        ValueError: there is no task, or the tasks differ in their number of seeds.
    """
    return paired_intervals([differences], groups=groups, draws=draws, seed=seed)[0]


def paired_intervals(
    comparisons: Sequence[Mapping[str, npt.NDArray[np.float64]]],
    *,
    groups: Sequence[Sequence[str]] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Interval]:
    """Return the intervals of several differences, which share their draws of test rows.

    Args:
        comparisons: differences as for `paired_interval`, all on the same tasks and rows.
        groups: see `paired_interval`.
        draws: R.
        seed: of the draws.
    """
    for differences in comparisons:
        if len({values.shape[0] for values in differences.values()}) != 1:
            msg = "paired_intervals: every task needs the same seeds, and there must be a task"
            raise ValueError(msg)
    if not comparisons:
        return []
    tasks = list(comparisons[0])
    weights = task_weights(tasks, groups)
    n_seeds = [one[tasks[0]].shape[0] for one in comparisons]
    seed_rng, row_rng = (np.random.default_rng([seed, stream]) for stream in (0, 1))
    drawn_RS = {S: _counts(seed_rng, S, draws) for S in sorted(set(n_seeds))}
    totals_R = [np.zeros(draws) for _ in comparisons]
    for name in tasks:
        means_RS = _row_means([one[name] for one in comparisons], draws, row_rng)
        for total_R, mean_RS in zip(totals_R, means_RS, strict=True):
            total_R += weights[name] * (mean_RS * drawn_RS[mean_RS.shape[1]]).sum(axis=1)
    return [
        _interval(one, total_R, weights) for one, total_R in zip(comparisons, totals_R, strict=True)
    ]


def draws_for(n_tests: int) -> int:
    """Return how many draws keep a clear difference significant among this many tests."""
    return max(DRAWS, _DRAWS_PER_TEST * n_tests)


def wilson_interval(score: float, n: int) -> tuple[float, float]:
    """Return the 95% interval of a share of correct answers (Wilson, 1927)."""
    center = (score + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    margin = math.sqrt(score * (1 - score) / n + Z95**2 / (4 * n**2)) * Z95 / (1 + Z95**2 / n)
    return max(0.0, center - margin), min(1.0, center + margin)


def _interval(
    differences: Mapping[str, npt.NDArray[np.float64]],
    total_R: npt.NDArray[np.float64],
    weights: Mapping[str, float],
) -> Interval:
    low, high = np.quantile(total_R, (0.025, 0.975))
    return Interval(
        sum(weights[name] * float(values.mean()) for name, values in differences.items()),
        float(low),
        float(high),
        max(_two_sided(total_R), _least_p(differences)),
        sum(values.shape[1] for values in differences.values()),
        next(iter(differences.values())).shape[0],
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for multiple comparisons (Holm, 1979), in the given order."""
    order = np.argsort(p_values, kind="stable")
    adjusted, running = np.empty(len(p_values)), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return [float(value) for value in adjusted]


def task_weights(tasks: Sequence[str], groups: Sequence[Sequence[str]] | None) -> dict[str, float]:
    """Return the weight of each task in the average; the weights sum to 1."""
    if groups is None:
        return dict.fromkeys(tasks, 1 / len(tasks))
    return {name: 1 / len(groups) / len(group) for group in groups for name in group}


def _counts(generator: np.random.Generator, n: int, draws: int) -> npt.NDArray[np.float64]:
    """Return how often each of n items is drawn, as shares: [R, n]."""
    return generator.multinomial(n, np.full(n, 1 / n), size=draws) / n


def _row_means(
    values_Sn: Sequence[npt.NDArray[np.float64]], draws: int, generator: np.random.Generator
) -> list[npt.NDArray[np.float64]]:
    """Return each seed's mean over the drawn rows, [R, S] each, in chunks that fit in memory."""
    stacked_nK = np.concatenate(values_Sn).T
    n = len(stacked_nK)
    step = max(1, _CHUNK // n)
    means_RK = np.concatenate(
        [
            _counts(generator, n, min(step, draws - start)) @ stacked_nK
            for start in range(0, draws, step)
        ]
    )
    ends = np.cumsum([len(values) for values in values_Sn])[:-1]
    return np.split(means_RK, ends, axis=1)


def _two_sided(totals_R: npt.NDArray[np.float64]) -> float:
    tolerance = 1e-12  # the same terms summed in another order
    below, above = int((totals_R <= tolerance).sum()), int((totals_R >= -tolerance).sum())
    return min(1.0, 2 * (min(below, above) + 1) / (len(totals_R) + 1))


def _least_p(differences: Mapping[str, npt.NDArray[np.float64]]) -> float:
    """Return the smallest p-value of a sign-flip test: k differing rows have 2^k sign patterns.

    A bootstrap over a handful of rows that all differ in the same direction would claim certainty.
    """
    differing = sum(int((values != 0).any(axis=0).sum()) for values in differences.values())
    return float(min(1.0, 2.0 ** (1 - differing)))
