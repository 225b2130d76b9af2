"""The report of a matrix alone, written by `bids analyze` in the style of a run's report.

Shapes: N training rows, M validation instances (columns), B picks.
"""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bids_core.influence.matrix import MatrixLike, as_matrix
from bids_core.report.inputs import ReportInputs
from bids_core.report.page import build_report
from bids_core.selection import Selection
from bids_core.selection.request import checked_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from bids_core.diagnostics import Analysis


def write_analysis(
    analysis: Analysis,
    path: Path,
    attribution: MatrixLike,
    selections: Mapping[str, Selection | npt.ArrayLike] | None = None,
    *,
    name: str = "matrix",
    tasks: Sequence[str] | None = None,
    capabilities: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    texts: Sequence[str] | None = None,
    row_ids: Sequence[str] | None = None,
    validation_ids: Sequence[str] | None = None,
) -> None:
    """Write the page of an analysis: one HTML file that needs nothing from the network.

    Args:
        analysis: what `bids_core.diagnostics.analyze` returned.
        path: of the file.
        attribution: the [N, M] matrix that was analysed.
        selections: by name; the page explains the first.
        name: of the page.
        tasks: M task names; without them all columns are one task, `all`.
        capabilities: M capability names.
        sources: N source names.
        texts: N texts.
        row_ids: N names of the rows.
        validation_ids: M names of the validation instances.

    Raises:
        MatrixError: an argument does not match the matrix.
    """
    matrix = as_matrix(attribution, row_ids=row_ids, validation_ids=validation_ids)
    rows = [str(row) for row in matrix.row_ids or range(matrix.n_rows)]
    columns = [str(column) for column in matrix.validation_ids or range(matrix.n_columns)]
    of_column = list(checked_names(tasks, matrix.n_columns, "tasks", "instances") or ())
    of_column = of_column or ["all"] * matrix.n_columns
    origins = list(checked_names(sources, matrix.n_rows, "sources", "rows") or ())
    origins = origins or [""] * matrix.n_rows
    contents = checked_names(texts, matrix.n_rows, "texts", "rows") or ()
    frames = {
        key: _frame(picks, rows, origins, columns, of_column)
        for key, picks in (selections or {}).items()
    }
    inputs = ReportInputs(
        name=name,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        model="",
        main_method=next(iter(frames), ""),
        config={"selection": {"normalization": analysis.facts["normalization"]}},
        data={},
        attribution=matrix,
        row_ids=rows,
        sources=origins,
        validation_ids=columns,
        tasks=of_column,
        capabilities=list(capabilities or of_column),
        selections=frames,
        conversations={
            row: json.dumps([{"role": "user", "content": text}])
            for row, text in zip(rows, contents, strict=False)
        },
        tables=analysis.tables,
    )
    path.write_text(build_report(inputs), encoding="utf-8")


def _frame(
    picks: Selection | npt.ArrayLike,
    rows: Sequence[str],
    sources: Sequence[str],
    columns: Sequence[str],
    tasks: Sequence[str],
) -> pd.DataFrame:
    """Return one line per pick; without utility and winner if only the rows are known."""
    if isinstance(picks, Selection):
        return picks.to_frame(rows, sources, columns, tasks)
    chosen = np.asarray(picks, dtype=np.int64)
    return pd.DataFrame(
        {
            "rank": np.arange(1, len(chosen) + 1),
            "row_id": [rows[row] for row in chosen.tolist()],
            "source": [sources[row] for row in chosen.tolist()],
            "utility": np.nan,
            "winning_validation": None,
            "winning_task": None,
        }
    )
