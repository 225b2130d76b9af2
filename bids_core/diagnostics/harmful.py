"""Rows that hurt: with negative influence on most tasks, or good for one task and bad for others.

Let z_ij be the normalised influence, t_ik its mean over the instances of task k, and s_ik = (t_ik -
mean over i) / (standard deviation over i), so that all tasks have the same scale. Then

    harm_i         = - mean over k of min(s_ik, 0)
    tasks_harmed_i = number of k with s_ik < -threshold

All of this is relative to the pool: even a pool without bad rows has a tail. Rows with wrong
answers are in that tail if the model can do the tasks, because their gradients then point away from
those of correct answers; if it cannot, influence does not separate them from other rows.

Source: BIDS (arXiv 2501.12147) for z; s, harm and the flags are ours.

Shapes: N training rows, M validation instances (columns), K tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from bids_core.diagnostics.influence import task_means
from bids_core.influence.matrix import Matrix, MatrixLike, as_matrix
from bids_core.influence.normalization import prepare
from bids_core.selection.request import checked_names, groups_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

Floats = npt.NDArray[np.float64]

HARM_THRESHOLD: Final = 1.0
"""A task counts as harmed if s is more than this below the pool's mean, in standard deviations."""
BENEFIT_THRESHOLD: Final = 2.0
"""A row counts as good for a task if s is at least this far above the pool's mean."""
WRONG_THRESHOLD: Final = 1.5
"""Harm at which an answer is called likely wrong."""

LIKELY_WRONG: Final = "likely_wrong"
HURTS_MOST: Final = "hurts_most"
ONE_SIDED: Final = "one_sided"


def harmful_rows(
    attribution: MatrixLike,
    tasks: Iterable[str] | None = None,
    *,
    normalization: str = "zscore",
    threshold: float = HARM_THRESHOLD,
    benefit: float = BENEFIT_THRESHOLD,
    wrong: float = WRONG_THRESHOLD,
) -> pd.DataFrame:
    """Score every row by the harm it does, and flag those that stand out.

    Args:
        attribution: [N, M] influence.
        tasks: M task names; if None, all columns are one task, `all`.
        normalization: normalisation of the columns, as for the selection.
        threshold: s_ik below -threshold counts as harm to task k.
        benefit: s_ik of at least `benefit` counts as good for task k.
        wrong: an answer counts as likely wrong if harm_i is at least this.

    Returns:
        Frame of N lines in row order: row, harm (0 or more; sort by it, descending, to look for
        wrong answers), tasks_harmed, tasks_negative (number of tasks with negative mean raw
        influence), best_task, best (its s), worst_task, worst, and the flags likely_wrong (harm of
        at least `wrong`), hurts_most (more than half of the tasks harmed) and one_sided (good for
        one task and harmful to another).

    Raises:
        MatrixError: the matrix or the tasks are invalid.

    Warns:
        ColumnWarning: columns without spread are left out.
    """
    import pandas as pd

    matrix = as_matrix(attribution)
    names = checked_names(tasks, matrix.n_columns, "tasks", "validation instances")
    labels = names or ("all",) * matrix.n_columns
    standard_NK, raw_NK, order = task_scores(matrix, labels, normalization)
    harmed = (standard_NK < -threshold).sum(axis=1)
    best, worst = standard_NK.argmax(axis=1), standard_NK.argmin(axis=1)
    rows = np.arange(matrix.n_rows)
    high, low = standard_NK[rows, best], standard_NK[rows, worst]
    harm = -np.minimum(standard_NK, 0.0).mean(axis=1)
    return pd.DataFrame(
        {
            "row": rows,
            "harm": harm,
            "tasks_harmed": harmed,
            "tasks_negative": (raw_NK < 0).sum(axis=1),
            "best_task": np.array(order, dtype=object)[best],
            "best": high,
            "worst_task": np.array(order, dtype=object)[worst],
            "worst": low,
            LIKELY_WRONG: harm >= wrong,
            HURTS_MOST: 2 * harmed > len(order),
            ONE_SIDED: (high >= benefit) & (low < -threshold),
        }
    )


def task_scores(
    matrix: Matrix, tasks: tuple[str, ...], normalization: str
) -> tuple[Floats, Floats, list[str]]:
    """Return s [N, K], the raw task means [N, K], and the tasks that have a column with spread.

    Raises:
        MatrixError: no column has spread.
    """
    prepared, scale = prepare(matrix, normalization)
    names = list(dict.fromkeys(tasks))
    usable = [columns[scale.usable[columns]] for columns in groups_of(tasks)]
    known = [k for k, columns in enumerate(usable) if len(columns)]
    groups = [usable[k] for k in known]
    means_NK = np.empty((matrix.n_rows, len(groups)))
    raw_NK = np.empty_like(means_NK)
    for start, block in prepared.blocks():
        means_NK[start : start + len(block)] = task_means(scale.apply(block), groups)
    for start, block in matrix.blocks():
        raw_NK[start : start + len(block)] = task_means(block, groups)
    centred = means_NK - means_NK.mean(axis=0)
    spread = centred.std(axis=0)
    # a task's instances may cancel out: then no row harms it more than any other
    standard = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)
    return standard, raw_NK, [names[k] for k in known]
