"""Why was this row picked, or why not?

Shapes: N training rows, M validation instances (columns), K tasks, B picks.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from bids_core.diagnostics.inferred import Inferred
from bids_core.diagnostics.influence import task_means
from bids_core.diagnostics.unpicked import (
    CoveringPick,
    best_instance,
    covering_picks,
    entering_budget,
)
from bids_core.errors import MatrixError
from bids_core.influence.matrix import Matrix, MatrixLike, as_matrix
from bids_core.influence.normalization import ColumnScale, ColumnWarning, prepare
from bids_core.selection import METHODS, NO_COLUMN, Selection, select
from bids_core.selection.request import checked_names, groups_of

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = npt.NDArray[np.float64]

_INSTANCES: Final = 5
"""Number of validation instances listed."""


@dataclass(frozen=True)
class TaskInfluence:
    """A row's influence on one task, compared with the rest of the pool.

    Args:
        task: its name.
        influence: mean raw influence on the task's instances.
        normalized: mean normalised influence.
        percentile: percentage of the pool with lower normalised influence on the task.
    """

    task: str
    influence: float
    normalized: float
    percentile: float


@dataclass(frozen=True)
class InstanceInfluence:
    """A row's influence on one validation instance.

    Args:
        column: its index.
        validation_id: its name.
        task: its task.
        influence: raw influence.
        normalized: influence on the column's own scale.
    """

    column: int
    validation_id: str
    task: str | None
    influence: float
    normalized: float


@dataclass(frozen=True)
class Explanation:
    """Why a selection picked one row, or did not.

    Args:
        row: its index.
        row_id: its name.
        rank: rank among the picks, from 1; None if it was not picked.
        picks: number of picks.
        utility: utility of the pick; for a row that `bids` did not pick, its utility after the last
            pick; None for one that another method did not pick.
        last_utility: utility of the last pick.
        winner: the validation instance that decided the pick; None if none did.
        tasks: influence on every task, in order of appearance.
        instances: the instances with the highest normalised influence, highest first.
        instead: the row that would take its rank if this row were not in the pool; None if the row
            was not picked, or the selection cannot be repeated.
        entering: rows, not picked now, that would be picked without it at the same budget.
        worth_most_for: for a row that was not picked: the instance for which it is worth most.
        covered_by: for a row that was not picked: picks that serve that instance best.
        enters_at: for a row that was not picked: the smallest budget at which it would be; None if
            it is not picked at any budget tried.
        tried_up_to: the largest budget tried; 0 if none could be tried.
        inferred: the source of the row's influence, if it was inferred and not computed.
    """

    row: int
    row_id: str
    rank: int | None
    picks: int
    utility: float | None
    last_utility: float
    winner: InstanceInfluence | None
    tasks: tuple[TaskInfluence, ...]
    instances: tuple[InstanceInfluence, ...]
    instead: str | None
    entering: tuple[str, ...]
    worth_most_for: InstanceInfluence | None = None
    covered_by: tuple[CoveringPick, ...] = ()
    enters_at: int | None = None
    tried_up_to: int = 0
    inferred: Inferred | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-serialisable values."""
        return asdict(self)

    def __str__(self) -> str:
        """Return a few lines of text."""
        from bids_core.diagnostics.words import explanation_text

        return explanation_text(self.to_dict())

    def _repr_html_(self) -> str:
        from bids_core.diagnostics.words import explanation_html

        return explanation_html(self.to_dict())


def explain_row(
    attribution: MatrixLike,
    selection: Selection,
    row: int,
    *,
    tasks: Sequence[str] | None = None,
    subtasks: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    seed: int = 0,
) -> Explanation:
    """Explain why a selection picked a row, or did not.

    Args:
        attribution: [N, M] influence.
        selection: made from it; its method is run again without the row, unless it selects by other
            data (texts, representations, perplexities).
        row: index of the row.
        tasks: M task names; if None, all columns are one task, `all`.
        subtasks: M subtask names, as given to the selection.
        sources: N source names, likewise.
        seed: likewise.

    Returns:
        The explanation.

    Raises:
        MatrixError: the row is outside the matrix, or the task names do not match it.
    """
    matrix = as_matrix(attribution)
    if not 0 <= row < matrix.n_rows:
        msg = f"row {row} is outside the {matrix.n_rows} rows of the matrix"
        raise MatrixError(msg)
    names = checked_names(tasks, matrix.n_columns, "tasks", "validation instances")
    kind = selection.normalization if selection.normalization != "none" else "zscore"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ColumnWarning)
        prepared, scale = prepare(matrix, kind)
    place = np.flatnonzero(selection.indices == row)
    rank = int(place[0]) + 1 if len(place) else None
    labels = names or ("all",) * matrix.n_columns
    instances = _instances(matrix, prepared, scale, row, names)
    winner = selection.winning_columns[rank - 1] if rank else NO_COLUMN
    given: dict[str, Any] = {
        "tasks": names, "subtasks": subtasks, "sources": sources, "seed": seed,
    }  # fmt: skip
    instead, entering = _without(matrix, selection, row, rank, **given)
    best = None if rank else best_instance(prepared, scale, selection, row)
    found = Explanation(
        row=row,
        row_id=_name(matrix, row),
        rank=rank,
        picks=len(selection),
        utility=float(selection.utilities[rank - 1]) if rank
        else best[1] if best is not None and selection.method == "bids" else None,
        last_utility=float(selection.utilities[-1]),
        winner=None if winner == NO_COLUMN else next(i for i in instances if i.column == winner),
        tasks=_task_influence(matrix, prepared, scale, row, labels),
        instances=instances[:_INSTANCES],
        instead=instead,
        entering=entering,
    )  # fmt: skip
    if best is None:
        return found
    budget, tried = entering_budget(matrix, selection, row, **given)
    return replace(
        found,
        worth_most_for=next(i for i in instances if i.column == best[0]),
        covered_by=covering_picks(prepared, scale, selection, best[0]),
        enters_at=budget,
        tried_up_to=tried,
    )


def _instances(
    matrix: Matrix, prepared: Matrix, scale: ColumnScale, row: int, tasks: tuple[str, ...] | None
) -> tuple[InstanceInfluence, ...]:
    """Return all instances, the one with the highest normalised influence first."""
    raw = matrix.take([row])[0].astype(np.float64)
    z = scale.apply(prepared.take([row])[0])
    order = np.argsort(-np.where(scale.usable, z, -np.inf), kind="stable")
    return tuple(
        InstanceInfluence(
            column=int(column),
            validation_id=str(matrix.validation_ids[column] if matrix.validation_ids else column),
            task=None if tasks is None else tasks[column],
            influence=float(raw[column]),
            normalized=float(z[column]),
        )
        for column in order.tolist()
    )


def _task_influence(
    matrix: Matrix, prepared: Matrix, scale: ColumnScale, row: int, tasks: tuple[str, ...]
) -> tuple[TaskInfluence, ...]:
    names = list(dict.fromkeys(tasks))
    groups = groups_of(tasks)
    usable = [columns[scale.usable[columns]] for columns in groups]
    raw = matrix.take([row]).astype(np.float64)
    own = task_means(scale.apply(prepared.take([row])), usable)[0]
    lower = np.zeros(len(names), dtype=np.int64)
    for _, block in prepared.blocks():
        lower += (task_means(scale.apply(block), usable) < own).sum(axis=0)
    return tuple(
        TaskInfluence(
            task=name,
            influence=float(raw[0, groups[k]].mean()),
            normalized=float(own[k]),
            percentile=100.0 * float(lower[k]) / matrix.n_rows,
        )
        for k, name in enumerate(names)
        if len(usable[k])
    )


def _without(
    matrix: Matrix,
    selection: Selection,
    row: int,
    rank: int | None,
    *,
    tasks: Sequence[str] | None,
    subtasks: Sequence[str] | None,
    sources: Sequence[str] | None,
    seed: int,
) -> tuple[str | None, tuple[str, ...]]:
    """Select without the row; return which row takes its rank, and which rows are new."""
    if selection.method not in METHODS or rank is None or len(selection) == matrix.n_rows:
        return None, ()
    if METHODS[selection.method].needs not in ("influence", "nothing"):
        return None, ()  # selected by texts, representations or losses, not available here
    others = np.delete(np.arange(matrix.n_rows), row)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ColumnWarning)
        again = select(
            matrix.take(others),
            len(selection),
            method=selection.method,
            normalization=selection.normalization,
            tasks=tasks,
            subtasks=subtasks,
            sources=None if sources is None else [sources[other] for other in others.tolist()],
            seed=seed,
        )
    picked = others[again.indices]
    entering = picked[~np.isin(picked, selection.indices)]
    return _name(matrix, int(picked[rank - 1])), tuple(_name(matrix, int(r)) for r in entering)


def _name(matrix: Matrix, row: int) -> str:
    return str(row if matrix.row_ids is None else matrix.row_ids[row])
