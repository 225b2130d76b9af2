"""Methods in which instances, tasks or sources take turns at picking.

Shapes: N training rows, M validation instances (columns), K tasks, B budget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bids_core.influence.matrix import Matrix
from bids_core.influence.normalization import no_scaling
from bids_core.selection.best_rows import BestRows
from bids_core.selection.methods import selection_method
from bids_core.selection.request import groups_of
from bids_core.selection.result import Picks
from bids_core.selection.scoring import group_means, without_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.selection.request import Request

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@selection_method(what="instances take turns")
def round_robin(request: Request) -> Picks:
    """Each validation instance in turn takes its highest unselected row.

    Works on raw influence; a column's scale makes no difference. Source: greedy round-robin of
    arXiv 2602.14696, and the selection of RDS+ (arXiv 2503.01807).
    """
    return take_turns(request.matrix, request.budget)


@selection_method(what="tasks take turns, by mean influence", labels=("tasks",))
def round_robin_tasks(request: Request) -> Picks:
    """Each task in turn takes the unselected row with its highest mean influence.

    The winning column is the row's highest instance within the task. Source: as `round_robin`,
    with the task as the unit that takes turns, as in BIDS (arXiv 2501.12147).
    """
    groups = groups_of(request.need_tasks())
    scores = Matrix(group_means(request.matrix, groups))
    return _winners_within(request.matrix, groups, take_turns(scores, request.budget))


@selection_method(what="an equal share per task, by LESS score", labels=("tasks",))
def quota(request: Request) -> Picks:
    """Each task gets an equal share of the budget for the rows with its highest LESS score.

    A task's LESS score is the max over its subtasks of the mean over their instances. Tasks take
    turns, so that no row counts twice and budgets are nested; without subtasks this is
    `round_robin_tasks`. Source: LESS (arXiv 2402.04333), run per task.
    """
    tasks = request.need_tasks()
    groups = groups_of(tasks)
    subtasks = request.subtasks or tasks
    scores_NK = np.empty((request.matrix.n_rows, len(groups)))
    for place, columns in enumerate(groups):
        parts = [columns[part] for part in groups_of([subtasks[column] for column in columns])]
        scores_NK[:, place] = group_means(request.matrix, parts).max(axis=1)
    return _winners_within(request.matrix, groups, take_turns(Matrix(scores_NK), request.budget))


@selection_method(
    what="at random, sources in turn", seeded=True, needs="nothing", labels=("sources",)
)
def random_balanced(request: Request) -> Picks:
    """Return random rows, as many from each source as there are, up to the exhausted ones.

    Sources take turns; nested in the budget for a fixed seed. Source: the balanced random baseline
    of BIDS (arXiv 2501.12147).
    """
    sources = np.unique(request.need_sources(), return_inverse=True)[1]
    n_rows = request.n_rows
    order = np.random.default_rng(request.seed).permutation(n_rows)
    by_source = np.argsort(sources[order], kind="stable")
    turn = np.empty(n_rows, dtype=np.int64)
    counts = np.bincount(sources)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    turn[by_source] = np.arange(n_rows) - starts
    rows = order[np.argsort(turn, kind="stable")][: request.budget]
    return without_scores(rows.astype(np.int64))


def take_turns(matrix: Matrix, budget: int) -> Picks:
    """Let the columns of a matrix take turns at picking their highest unselected row.

    Args:
        matrix: [N, M] finite values.
        budget: number of picks B.

    Returns:
        The picks; the utility is the picked entry, the column the one whose turn it was.
    """
    best = BestRows(matrix, no_scaling(matrix.n_columns), 2 * -(-budget // matrix.n_columns))
    columns = np.arange(budget, dtype=np.int64) % matrix.n_columns
    rows, utilities = np.empty(budget, dtype=np.int64), np.empty(budget)
    for step, column in enumerate(columns.tolist()):
        row = best.head_rows[column]
        rows[step], utilities[step] = row, best.head_values[column]
        best.selected[row] = True
        best.advance(np.flatnonzero(best.head_rows == row))
    return Picks(rows, utilities, columns)


def _winners_within(matrix: Matrix, groups: Sequence[Ints], picks: Picks) -> Picks:
    """Replace each picking group with the row's highest column within the group."""
    columns = np.empty_like(picks.columns)
    for place, members in enumerate(groups):
        turns = np.flatnonzero(picks.columns == place)
        if len(turns):
            part = np.take(matrix.take(picks.rows[turns]), members, axis=1)
            columns[turns] = members[part.argmax(axis=1)]
    return Picks(picks.rows, picks.utilities, columns)
