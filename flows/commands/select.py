"""`bids select`: selection alone, from any attribution matrix."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bids_core.errors import UserError

if TYPE_CHECKING:
    from bids_core.matrix_files import LabelledMatrix
    from bids_core.selection import Selection

_SHOWN = 10

MatrixArgument = Annotated[
    Path,
    typer.Argument(
        metavar="MATRIX",
        help="Influence of training rows (rows) on validation instances (columns): .npy, .zarr "
        "(an array, or what the attribution stage wrote), .parquet or .csv (columns are "
        "validation instances; a column `row_id` names the rows).",
    ),
]
TasksOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Task of each validation instance. .txt: one a line, in the order of the columns; "
        ".json: a list, or an object from validation id to task; .csv or .parquet: columns "
        "validation_id and task (and subtask, capability). Without column names the ids are "
        "0, 1, ... A matrix of the attribution stage brings its own.",
    ),
]
SourcesOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Source of each training row, in the same forms (columns row_id and source).",
    ),
]
NormalizationOption = Annotated[
    str, typer.Option(help="Per-column scale: zscore, minmax, robust, rank or none.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def select(
    matrix: MatrixArgument,
    budget: Annotated[
        str, typer.Option(help="How many rows: a count (500) or a fraction of them (0.15).")
    ],
    method: Annotated[str, typer.Option(help="Selection method.")] = "bids",
    normalization: NormalizationOption = "zscore",
    tasks: TasksOption = None,
    sources: SourcesOption = None,
    seed: Annotated[int, typer.Option(help="Seed of the random methods.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where the picks go, best first: .parquet, .csv or .json (with utility and "
            "winning validation instance), .npy (row indices) or .txt (row ids).",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Select the rows worth training on from an attribution matrix."""
    from bids_core.selection import select as select_rows
    from bids_core.selection_files import check_selection_path, write_selection
    from flows.commands.matrix_input import open_labelled, showing_warnings

    if out is not None:
        check_selection_path(out)
    count = parse_budget(budget)
    labelled = open_labelled(matrix, tasks, sources)
    started = time.perf_counter()
    with showing_warnings():
        selection = select_rows(
            labelled.matrix,
            count,
            method=method,
            normalization=normalization,
            tasks=labelled.tasks,
            subtasks=labelled.subtasks,
            sources=labelled.sources,
            seed=seed,
        )
    seconds = time.perf_counter() - started
    if out is not None:
        write_selection(out, selection, labelled)
    facts = _facts(selection, labelled, seconds=seconds, seed=seed, out=out)
    if as_json:
        import json

        typer.echo(json.dumps(facts | {"indices": selection.indices.tolist()}))
    else:
        _show(selection, labelled, facts)


def parse_budget(text: str) -> int | float:
    """Return a count for `500`, a fraction for `0.15` or `15%`.

    Raises:
        UserError: it is neither.
    """
    try:
        if text.endswith("%"):
            return float(text[:-1]) / 100
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    except ValueError as error:
        msg = f"--budget {text!r} is not a number: give a count (500) or a fraction (0.15)"
        raise UserError(msg) from error


def _facts(
    selection: Selection,
    labelled: LabelledMatrix,
    *,
    seconds: float,
    seed: int,
    out: Path | None,
) -> dict[str, Any]:
    frame = selection.to_frame(tasks=labelled.tasks, sources=labelled.sources)
    return {
        "method": selection.method,
        "normalization": selection.normalization,
        "rows": labelled.matrix.n_rows,
        "columns": labelled.matrix.n_columns,
        "selected": len(selection),
        "seed": seed,
        "left_out": [labelled.matrix.column_name(column) for column in selection.left_out],
        "picks_per_task": _counts(frame["winning_task"]),
        "picks_per_source": _counts(frame["source"]),
        "seconds": round(seconds, 3),
        "out": None if out is None else str(out),
    }


def _counts(names: Any) -> dict[str, int]:
    return {str(name): int(count) for name, count in names.value_counts().items()}


def _show(selection: Selection, labelled: LabelledMatrix, facts: dict[str, Any]) -> None:
    from flows.commands.matrix_input import output_console
    from flows.console import table

    console = output_console()
    matrix = labelled.matrix
    frame = selection.first(min(_SHOWN, len(selection))).to_frame(
        matrix.row_ids, labelled.sources, matrix.validation_ids, labelled.tasks
    )
    shown = ["rank", "row_id", "source", "utility", "winning_validation", "winning_task"]
    shown = [name for name in shown if not frame[name].isna().all()]
    rows = [[None if value != value else value for value in line] for line in
            frame[shown].itertuples(index=False)]  # fmt: skip
    console.print(table(f"First {len(frame)} picks", shown, rows))
    for title, key in (("task", "picks_per_task"), ("source", "picks_per_source")):
        if facts[key]:
            counts = [[name, n, n / len(selection)] for name, n in facts[key].items()]
            console.print()
            console.print(table(f"Picks by {title}", [title, "picks", "share"], counts))
    console.print(
        f"\n{facts['selected']:,} of {facts['rows']:,} rows selected with {facts['method']} "
        f"({facts['normalization']}) in {facts['seconds']:.2f} s"
        + (f", written to {facts['out']}" if facts["out"] else "; --out FILE keeps them"),
        highlight=False,
        markup=False,
    )
