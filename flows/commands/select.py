"""`bids select`: selection alone, from any attribution matrix."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.budget import budget_option
from flows.commands.command import Command
from flows.commands.late_help import LateHelp

if TYPE_CHECKING:
    from bids_core.influence.labels import Labels
    from bids_core.influence.matrix import Matrix
    from bids_core.selection import Selection

_SHOWN = 10

MATRIX_HELP = (
    "Influence of training rows (rows) on validation instances (columns): .npy, .zarr (an "
    "array, or the attribution stage's group), .parquet or .csv (columns are validation "
    "instances; a column `row_id` names the rows)."
)
MatrixArgument = Annotated[Path, typer.Argument(metavar="MATRIX", help=MATRIX_HELP)]
TasksOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Task of each validation instance. .txt: one per line, in column order; .json: "
        "a list, or an object from validation id to task; .csv or .parquet: columns "
        "validation_id and task (and subtask, capability). Without column names the ids "
        "are 0, 1, ... A matrix of the attribution stage has its own.",
    ),
]
SourcesOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Source of each training row, in the same forms (columns row_id and source).",
    ),
]
NormalizationOption = Annotated[str, typer.Option(help="Per-column scale: {normalizations}.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def select(
    budget: Annotated[
        str, typer.Option(help="How many rows: a count (500) or a fraction of them (0.15, 15%).")
    ],
    matrix: Annotated[
        Path | None,
        typer.Argument(
            metavar="MATRIX",
            help=f"{MATRIX_HELP} Not needed by methods that work on texts, representations or "
            "perplexities.",
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="{methods}; or your own function, package.module:function or "
            "methods.py:function (docs/extend.md)."
        ),
    ] = "bids",
    normalization: NormalizationOption = "zscore",
    tasks: TasksOption = None,
    sources: SourcesOption = None,
    texts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Training texts: .txt (one per line), .json, .jsonl, .csv or .parquet with "
            "`text`, `messages` or `prompt` and `completion`, and optionally `row_id`.",
        ),
    ] = None,
    validation_texts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Validation texts, in the same forms."),
    ] = None,
    representations: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Hidden states of the training rows, one row each, in the forms of MATRIX.",
        ),
    ] = None,
    validation_representations: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Hidden states of the validation instances, one row each."
        ),
    ] = None,
    perplexities: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Perplexity of each training row: .txt, .npy, or a table with `perplexity`.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Seed of the random methods.")
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File for the picks, best first: .parquet, .csv or .json (with utility and "
            "winning validation instance), .npy (row indices) or .txt (row ids).",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Select the rows worth training on from an attribution matrix."""
    from bids_core.selection import select as select_rows
    from bids_core.selection.files import check_selection_path, write_selection
    from flows.commands.matrix_input import naming_options, open_inputs, showing_warnings
    from flows.commands.out_path import require_folder

    if out is not None:
        check_selection_path(out)
        require_folder(out)
    count = budget_option(budget)
    labels, inputs = open_inputs(
        matrix=matrix,
        tasks=tasks,
        sources=sources,
        texts=texts,
        validation_texts=validation_texts,
        representations=representations,
        validation_representations=validation_representations,
        perplexities=perplexities,
    )
    started = time.perf_counter()
    with showing_warnings(), naming_options():
        selection = select_rows(
            budget=count,
            method=method,
            normalization=normalization,
            tasks=labels.tasks,
            subtasks=labels.subtasks,
            sources=labels.sources,
            seed=seed,
            **inputs,
        )
        seconds = time.perf_counter() - started
        doubtful = _doubtful(inputs["attribution"], selection)
    if out is not None:
        files = {
            "matrix": matrix, "tasks": tasks, "sources": sources, "texts": texts,
            "validation_texts": validation_texts,
        }  # fmt: skip
        write_selection(out, selection, labels, seed=seed, made_from=files)
    facts = _facts(selection, labels, seconds=seconds, seed=seed, out=out)
    facts["doubtful"] = doubtful
    if as_json:
        import json

        typer.echo(json.dumps(facts | {"indices": selection.indices.tolist()}))
    else:
        _show(selection, labels, facts)


COMMAND = Command(select, place=70, options={"cls": LateHelp})


def _doubtful(matrix: Matrix | None, selection: Selection) -> list[str]:
    """Warn of columns for which a z-score is doubtful, if one was used; return their names."""
    if matrix is None or selection.normalization != "zscore" or not matrix.resident:
        return []
    from bids_core.diagnostics.columns import column_shapes

    shapes = column_shapes(matrix)
    names = shapes.loc[~shapes["doubtful"].isin(["", "constant"]), "validation_id"]
    return [str(name) for name in names]


def _facts(
    selection: Selection,
    labels: Labels,
    *,
    seconds: float,
    seed: int,
    out: Path | None,
) -> dict[str, Any]:
    frame = selection.to_frame(tasks=labels.tasks, sources=labels.sources)
    return {
        "method": selection.method,
        "normalization": selection.normalization,
        "rows": labels.n_rows,
        "columns": labels.n_columns,
        "selected": len(selection),
        "seed": seed,
        "left_out": [labels.column_name(column) for column in selection.left_out],
        "picks_per_task": _counts(frame["winning_task"]),
        "picks_per_source": _counts(frame["source"]),
        "seconds": round(seconds, 3),
        "out": None if out is None else str(out),
    }


def _counts(names: Any) -> dict[str, int]:
    return {str(name): int(count) for name, count in names.value_counts().items()}


def _show(selection: Selection, labels: Labels, facts: dict[str, Any]) -> None:
    from flows.console import output_console, table

    console = output_console()
    frame = selection.first(min(_SHOWN, len(selection))).to_frame(
        labels.row_ids, labels.sources, labels.validation_ids, labels.tasks
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
        + (f", written to {facts['out']}" if facts["out"] else "; add --out FILE to save them"),
        highlight=False,
        markup=False,
    )
