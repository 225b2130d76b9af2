"""Selection alone, as a flow: from an attribution matrix in a file to the picks in a file."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Final

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact

from bids_core.config import Budget, Normalization, Section, SelectionMethod
from flows.admission import admit_methods, admit_paths
from flows.cancelling import cancellable

_SHOWN: Final = 20


class MatrixSelection(Section):
    """What to select from, how, and where the picks go."""

    matrix: str
    """Influence of training rows (rows) on validation instances (columns): `.npy`, `.zarr`,
    `.parquet` or `.csv`."""
    out: str
    """Where the picks go, best first: `.parquet`, `.csv`, `.json`, `.npy` (row indices) or `.txt`
    (row ids)."""
    method: SelectionMethod = "bids"
    """How rows are picked; or a function of your own, `package.module:function` or
    `methods.py:function`."""
    budget: Budget = 0.15
    """Number of rows (500), or fraction of them (0.15 or 15%, up to 1.0)."""
    normalization: Normalization = "zscore"
    """Per-column normalisation, for the methods that use one."""
    tasks: str | None = None
    """File with the task of each validation instance (`.txt`, `.json`, `.csv`, `.parquet`); a
    matrix of the attribution stage has its own."""
    sources: str | None = None
    """File with the source of each training row, in the same forms."""
    seed: int = 0
    """Seed of the random methods."""


class MatrixPicks(Section):
    """What was selected."""

    out: str
    """Where the picks are."""
    rows: int
    """Rows of the matrix."""
    selected: int
    """Rows that were picked."""
    picks_per_task: dict[str, int]
    """Picks by the task of the validation instance that won them."""
    seconds: float
    """Time that the selection took."""


@flow(name="select-matrix", flow_run_name="{request.method} {request.budget}", retries=0)
def select_matrix(request: MatrixSelection) -> MatrixPicks:
    """Select rows from an attribution matrix, without any model.

    Args:
        request: what to select from, how, and where the picks go.
    """
    from bids_core.formatting import as_cells, as_code
    from bids_core.selection import select
    from bids_core.selection.files import check_selection_path, write_selection
    from flows.commands.matrix_input import open_labelled

    admit_paths(
        matrix=request.matrix, out=request.out, tasks=request.tasks, sources=request.sources
    )
    admit_methods([request.method], key="method")
    out = Path(request.out).expanduser()
    check_selection_path(out)
    tasks, sources = (Path(p).expanduser() if p else None for p in (request.tasks, request.sources))
    labelled = open_labelled(Path(request.matrix).expanduser(), tasks, sources)
    labels, started = labelled.labels, time.perf_counter()
    with cancellable():
        picks = select(
            labelled.matrix,
            request.budget,
            method=request.method,
            normalization=request.normalization,
            tasks=labels.tasks,
            subtasks=labels.subtasks,
            sources=labels.sources,
            seed=request.seed,
        )
    seconds = time.perf_counter() - started
    write_selection(out, picks, labels)
    get_run_logger().info("%d of %d rows selected, in %s", len(picks), labels.n_rows, out)
    frame = picks.to_frame(labels.row_ids, labels.sources, labels.validation_ids, labels.tasks)
    shown = frame.head(_SHOWN)
    create_table_artifact(
        table=as_cells(json.loads(shown.to_json(orient="records"))),
        key="matrix-picks",
        description=f"First {len(shown)} of {len(picks)} picks; all are in {as_code(out)}",
    )
    counts = frame["winning_task"].value_counts()
    return MatrixPicks(
        out=str(out),
        rows=labels.n_rows,
        selected=len(picks),
        picks_per_task={str(name): int(count) for name, count in counts.items()},
        seconds=round(seconds, 3),
    )
