"""Ranks, wins and balance over tasks.

Shapes: S seeds, n test rows of a task.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Balance:
    """How evenly a model performs across tasks.

    Args:
        worst_task: the task with the lowest score.
        worst_score: that score.
        spread: standard deviation of the scores across tasks.
        least_gain: smallest gain over the base model on any task; NaN without the base model.
        gain_spread: standard deviation of the gains across tasks; NaN without the base model.
    """

    worst_task: str
    worst_score: float
    spread: float
    least_gain: float = math.nan
    gain_spread: float = math.nan


@dataclass(frozen=True, slots=True)
class Wins:
    """On how many pairs of task and seed a method scores above, equal to and below another."""

    won: int
    tied: int
    lost: int


def average_ranks(means: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return each method's mean rank over tasks, 1 being best; ties share their mean rank.

    Args:
        means: score of each method on each task; all methods have the same tasks.
    """
    methods = list(means)
    tasks = list(means[methods[0]]) if methods else []
    if not tasks:
        return dict.fromkeys(methods, math.nan)
    scores = np.array([[means[method][task] for task in tasks] for method in methods])
    ranks = rankdata(-scores.round(12), method="average", axis=0).mean(axis=1)
    return dict(zip(methods, (float(rank) for rank in ranks), strict=True))


def count_wins(differences: Mapping[str, npt.NDArray[np.float64]]) -> Wins:
    """Count pairs of task and seed by the sign of the mean difference, [S, n] per task."""
    means = np.concatenate([values.mean(axis=1).round(12) for values in differences.values()])
    return Wins(int((means > 0).sum()), int((means == 0).sum()), int((means < 0).sum()))


def balance(means: Mapping[str, float], base: Mapping[str, float] | None) -> Balance:
    """Return how evenly a model performs across tasks.

    Args:
        means: its score on each task, at least one.
        base: the base model's, if it was evaluated.
    """
    worst = min(means, key=lambda task: means[task])
    found = (worst, means[worst], float(np.std(list(means.values()))))
    if base is None:
        return Balance(*found)
    gains = [means[task] - base[task] for task in means]
    return Balance(*found, min(gains), float(np.std(gains)))
