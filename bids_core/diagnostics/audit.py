"""Rows of a pool that are worth a second look: those that hurt, and those nearly picked.

Shapes: N training rows, M validation instances (columns), B picks, K tasks.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from bids_core.diagnostics.harmful import HURTS_MOST, LIKELY_WRONG, ONE_SIDED, harmful_rows
from bids_core.errors import MatrixError
from bids_core.influence.matrix import Matrix, MatrixLike, as_matrix
from bids_core.influence.normalization import ColumnWarning, prepare
from bids_core.selection import select

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

Floats = npt.NDArray[np.float64]

NEAR_MISS: Final = "near_miss"
REASONS: Final = {
    LIKELY_WRONG: "stands out as harmful; check whether the answer is right",
    HURTS_MOST: "harms more than half of the tasks",
    ONE_SIDED: "good for one task, harm to another",
    NEAR_MISS: "next in line below the budget, in the order they would be picked",
}
"""Reasons and their meaning; a row gets the first that applies."""
COLUMNS: Final = (
    "reason", "row", "row_id", "source", "harm", "tasks_harmed", "tasks_negative", "best_task",
    "best", "worst_task", "worst", "rank", "utility", "winning_validation", "covered_by", "text",
)  # fmt: skip
TEXT_SHOWN: Final = 80


@dataclass(frozen=True)
class Audit:
    """The results of an audit.

    Args:
        table: one line per row worth a look, by reason, worst (or nearest) first: row, row_id,
            source, reason, harm, tasks_harmed, tasks_negative, best_task, best, worst_task, worst,
            rank (place among the picks, None if not picked), utility, winning_validation,
            covered_by (for near misses: the picked row with the highest influence on the instance
            for which the row would have been picked), text (its beginning; None if the texts are
            unknown).
        counts: reason -> number of rows.
        picked: reason -> number of these rows among the picks; None without a budget.
        n_rows: number of rows in the pool, N.
        n_tasks: number of tasks, K.
    """

    table: pd.DataFrame
    counts: dict[str, int]
    picked: dict[str, int] | None
    n_rows: int
    n_tasks: int


def audit_pool(
    attribution: MatrixLike,
    tasks: Sequence[str] | None = None,
    *,
    budget: int | float | None = None,
    sources: Sequence[str] | None = None,
    texts: Sequence[str] | None = None,
    normalization: str = "zscore",
    near: int = 20,
) -> Audit:
    """List the rows that hurt and, given a budget, the near misses of BIDS.

    Args:
        attribution: [N, M] influence.
        tasks: M task names.
        budget: a count or a fraction of the pool; None for no picks, and so no near misses.
        sources: N source names.
        texts: N texts.
        normalization: normalisation of the columns.
        near: maximum number of near misses.

    Raises:
        MatrixError: the matrix, the tasks or the budget are invalid.
    """
    matrix = as_matrix(attribution)
    for values, what in ((sources, "sources"), (texts, "texts")):
        if values is not None and len(values) != matrix.n_rows:
            msg = f"{len(values)} {what} were given for {matrix.n_rows} rows; give one for each row"
            raise MatrixError(msg)
    scores = harmful_rows(matrix, tasks, normalization=normalization)
    reason = np.full(matrix.n_rows, "", dtype=object)
    for name in (ONE_SIDED, HURTS_MOST, LIKELY_WRONG):  # reversed: the first of REASONS wins
        reason[scores[name].to_numpy()] = name
    scores = scores.drop(columns=[LIKELY_WRONG, HURTS_MOST, ONE_SIDED]).assign(reason=reason)
    harmful = scores[scores["reason"] != ""]
    picks, misses = _picks(matrix, budget, normalization, near)
    table = _ordered(harmful, _of_misses(scores, misses))
    ranks = {} if picks is None else {int(row): rank for rank, row in enumerate(picks, start=1)}
    table["rank"] = table["row"].map(ranks).astype("Int64")
    counts = {name: int((table["reason"] == name).sum()) for name in REASONS}
    picked = table[table["rank"].notna()]["reason"].value_counts()
    return Audit(
        _labelled(table, matrix, sources, texts),
        counts,
        None if picks is None else {name: int(picked.get(name, 0)) for name in REASONS},
        matrix.n_rows,
        len(set(tasks)) if tasks is not None else 1,
    )


def near_misses(
    attribution: MatrixLike, budget: int | float, *, normalization: str = "zscore", near: int = 20
) -> pd.DataFrame:
    """Return the rows that BIDS would pick next beyond a budget, and the pick that covers each.

    A near miss i would be picked for some instance j. The pick that covers it is the one with the
    highest z_kj: it is why the row was worth less than the last pick.

    Args:
        attribution: [N, M] influence.
        budget: a count or a fraction of the pool.
        normalization: normalisation of the columns.
        near: maximum number of rows.

    Returns:
        Frame of at most `near` lines, nearest first: row, utility (at its pick), column (the
        instance), covered_by (a row).

    Raises:
        MatrixError: the matrix or the budget is invalid.
    """
    _, misses = _picks(as_matrix(attribution), budget, normalization, near)
    return misses


def _picks(
    matrix: Matrix, budget: int | float | None, normalization: str, near: int
) -> tuple[npt.NDArray[np.int64] | None, pd.DataFrame]:
    """Return the picks at the budget, and the rows that would follow (picks are nested)."""
    import pandas as pd

    from bids_core.selection.request import resolve_budget

    if budget is None:
        return None, pd.DataFrame(columns=["row", "utility", "column", "covered_by"])
    count = resolve_budget(budget, matrix.n_rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ColumnWarning)  # `harmful_rows` has warned already
        longer = select(matrix, min(count + near, matrix.n_rows), normalization=normalization)
        prepared, scale = prepare(matrix, normalization)
    picks = longer.indices[:count]
    z_BM = scale.apply(prepared.take(picks))
    columns = longer.winning_columns[count:]
    misses = pd.DataFrame(
        {
            "row": longer.indices[count:],
            "utility": longer.utilities[count:],
            "column": columns,
            "covered_by": picks[z_BM[:, columns].argmax(axis=0)] if len(columns) else [],
        }
    )
    return picks, misses


def _of_misses(scores: pd.DataFrame, misses: pd.DataFrame) -> pd.DataFrame:
    return misses.merge(scores.drop(columns="reason"), on="row", how="left").assign(
        reason=NEAR_MISS
    )


def _ordered(harmful: pd.DataFrame, misses: pd.DataFrame) -> pd.DataFrame:
    """Return both, by reason: the worst first, near misses in pick order."""
    import pandas as pd

    parts = [
        harmful[harmful["reason"] == name].sort_values("harm", ascending=False, kind="stable")
        for name in (LIKELY_WRONG, HURTS_MOST, ONE_SIDED)
    ]
    columns = [*harmful.columns, "utility", "column", "covered_by"]
    filled = [part.reindex(columns=columns) for part in (*parts, misses) if len(part)]
    if not filled:
        return pd.DataFrame(columns=columns)
    return pd.concat(filled, ignore_index=True)


def _labelled(
    table: pd.DataFrame,
    matrix: Matrix,
    sources: Sequence[str] | None,
    texts: Sequence[str] | None,
) -> pd.DataFrame:
    """Replace indices by names, and reorder the columns."""
    import pandas as pd

    def named(names: Sequence[str] | None, place: object) -> str | None:
        if place is None or place != place:
            return None
        index = int(place)  # type: ignore[call-overload]
        return str(index if names is None else names[index])

    def series(values: list[str | None]) -> pd.Series[Any]:
        return pd.Series(values, index=table.index, dtype="object")

    rows = table["row"].tolist()
    return table.assign(
        row_id=series([named(matrix.row_ids, row) for row in rows]),
        source=series([None if sources is None else sources[row] for row in rows]),
        winning_validation=series([named(matrix.validation_ids, j) for j in table["column"]]),
        covered_by=series([named(matrix.row_ids, row) for row in table["covered_by"]]),
        text=series([None if texts is None else _start(texts[row]) for row in rows]),
    )[list(COLUMNS)]


def _start(text: str) -> str:
    """Return the beginning of a text, on one line."""
    words = " ".join(text.split())
    return words if len(words) <= TEXT_SHOWN else words[:TEXT_SHOWN] + " ..."
