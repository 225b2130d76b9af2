"""Methods that give every row one score and keep the highest.

Shapes: N training rows, M validation instances (columns), R rows of a block, B budget. Scores are
computed in float64, row by row, so a row's score does not depend on the rows around it; ties go to
the lowest row.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bids_core.influence.normalization import prepare
from bids_core.selection.methods import selection_method
from bids_core.selection.request import groups_of
from bids_core.selection.result import NO_COLUMN, Picks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bids_core.influence.matrix import Matrix
    from bids_core.selection.request import Request

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@selection_method(
    what="highest normalised influence on any instance",
    label="instance-max",
    normalized=True,
    colour="green",
)
def instance_max(request: Request) -> Picks:
    """Score = highest normalised influence on any validation instance.

    With `zscore` this is BIDS without the iterations (-Iter); with `none`, BIDS without either of
    its parts. Source: BIDS (arXiv 2501.12147), ablations.
    """
    matrix, scale = prepare(request.matrix, request.normalization)
    unusable = ~scale.usable

    def score(block: npt.NDArray[Any]) -> tuple[Floats, Ints]:
        z_RM = scale.apply(block)
        z_RM[:, unusable] = -np.inf
        winner = z_RM.argmax(axis=1)
        return z_RM[np.arange(len(block)), winner], winner

    return replace(take_highest(matrix, score, request.budget), left_out=scale.left_out)


@selection_method(
    what="highest mean influence on any subtask (LESS)",
    label="LESS",
    labels=("tasks",),
    colour="vermilion",
)
def less(request: Request) -> Picks:
    """Score = max over tasks of the max over its subtasks of the mean over their instances.

    Without subtasks each task is its own subtask. Works on raw influence. The winning column is
    the highest one within the deciding subtask. Source: LESS (arXiv 2402.04333), section 4.3.
    """
    tasks = request.need_tasks()
    groups = groups_of(tasks) if request.subtasks is None else groups_of(tasks, request.subtasks)
    return _highest_group(request, groups, lambda part_RG: part_RG.mean(axis=1))


@selection_method(what="highest summed influence on any task", labels=("tasks",))
def task_max(request: Request) -> Picks:
    """Score = max over tasks of the sum over the task's instances.

    Works on raw influence. The winning column is the highest one within the deciding task.
    Source: the task-wise max baseline of BIDS (arXiv 2501.12147).
    """
    groups = groups_of(request.need_tasks())
    return _highest_group(request, groups, lambda part_RG: part_RG.sum(axis=1))


@selection_method(name="sum", what="highest influence summed over all instances")
def total(request: Request) -> Picks:
    """Score = sum over all validation instances; the winning column is the highest one.

    Works on raw influence. Source: the sum baseline of BIDS (arXiv 2501.12147).
    """
    everything = np.arange(request.matrix.n_columns)
    return _highest_group(request, [everything], lambda part_RG: part_RG.sum(axis=1))


@selection_method(what="middle perplexity", needs="perplexities")
def perplexity(request: Request) -> Picks:
    """Keep rows whose perplexity under a model ranks nearest to the middle.

    The utility of a row is its perplexity. Source: 'When Less is More' (arXiv 2309.04564), in which
    the middle does best.
    """
    values = request.need_perplexities()
    order = np.argsort(values, kind="stable")
    middle = (len(order) - 1) / 2
    order = order[np.argsort(np.abs(np.arange(len(order)) - middle), kind="stable")]
    return _in_order(request, values, order)


@selection_method(what="lowest perplexity", needs="perplexities")
def perplexity_low(request: Request) -> Picks:
    """Keep rows of the lowest perplexity, as `perplexity`."""
    values = request.need_perplexities()
    return _in_order(request, values, np.argsort(values, kind="stable"))


@selection_method(what="highest perplexity", needs="perplexities")
def perplexity_high(request: Request) -> Picks:
    """Keep rows of the highest perplexity, as `perplexity`."""
    values = request.need_perplexities()
    return _in_order(request, values, np.argsort(-values, kind="stable"))


def _in_order(request: Request, values: Floats, order: npt.NDArray[np.intp]) -> Picks:
    rows = order[: request.budget].astype(np.int64)
    return Picks(rows, values[rows], np.full(len(rows), NO_COLUMN, dtype=np.int64))


def _highest_group(
    request: Request, groups: Sequence[Ints], reduce: Callable[[Floats], Floats]
) -> Picks:
    """Score = max over groups of columns of `reduce` over the group."""

    def score(block: npt.NDArray[Any]) -> tuple[Floats, Ints]:
        best = np.full(len(block), -np.inf)
        winner = np.zeros(len(block), dtype=np.int64)
        for columns in groups:
            part_RG = np.take(block, columns, axis=1).astype(np.float64, order="C")
            value = reduce(part_RG)
            better = value > best
            best[better] = value[better]
            winner[better] = columns[part_RG[better].argmax(axis=1)]
        return best, winner

    return take_highest(request.matrix, score, request.budget)


def take_highest(
    matrix: Matrix,
    score: Callable[[npt.NDArray[Any]], tuple[Floats, Ints]],
    budget: int,
) -> Picks:
    """Score all rows and return the `budget` highest in order, lowest row first in ties.

    Args:
        matrix: [N, M].
        score: maps an [R, M] block to R scores and R winning columns.
        budget: number of picks B.
    """
    scores = np.empty(matrix.n_rows)
    winners = np.empty(matrix.n_rows, dtype=np.int64)
    for start, block in matrix.blocks():
        rows = slice(start, start + len(block))
        scores[rows], winners[rows] = score(block)
    order = highest(scores, budget)
    return Picks(order, scores[order], winners[order])


def group_means(matrix: Matrix, groups: Sequence[Ints]) -> Floats:
    """Return the [N, K] means over groups of columns, in float64."""
    means = np.empty((matrix.n_rows, len(groups)))
    for start, block in matrix.blocks():
        for place, columns in enumerate(groups):
            part_RG = np.take(block, columns, axis=1).astype(np.float64, order="C")
            means[start : start + len(block), place] = part_RG.mean(axis=1)
    return means


def highest(scores: Floats, count: int) -> Ints:
    """Return the indices of the `count` highest scores, best first, lowest index first in ties."""
    return np.argsort(-scores, kind="stable")[:count].astype(np.int64, copy=False)


def without_scores(rows: Ints) -> Picks:
    """Return the picks of a method without scores."""
    return Picks(rows, np.zeros(len(rows)), np.full(len(rows), NO_COLUMN, dtype=np.int64))


@selection_method(what="uniformly at random", seeded=True, needs="nothing", colour="grey")
def random(request: Request) -> Picks:
    """Return rows drawn uniformly without replacement; nested in the budget for a fixed seed."""
    order = np.random.default_rng(request.seed).permutation(request.n_rows)
    return without_scores(order[: request.budget].astype(np.int64))


@selection_method(
    what="the whole pool, whatever the budget",
    label="full pool",
    needs="nothing",
    colour="purple",
)
def full(request: Request) -> Picks:
    """Return the whole pool in its own order, whatever the budget."""
    return without_scores(np.arange(request.n_rows, dtype=np.int64))
