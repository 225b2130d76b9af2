"""`bids analyze`: what a pool and selections influence, and whether to trust the selections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.select import (
    JsonOption,
    MatrixArgument,
    NormalizationOption,
    SourcesOption,
    TasksOption,
    parse_budget,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bids_core.diagnostics.analysis import Analysis
    from bids_core.matrix_files import LabelledMatrix
    from bids_core.selection import Selection

    Picks = Selection | npt.NDArray[np.int64]

_LARGE = ("histograms", "utility")


def analyze(
    matrix: MatrixArgument,
    tasks: TasksOption = None,
    sources: SourcesOption = None,
    selection: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A selection to compare with the pool, as `bids select --out` writes it; may be "
            "given several times.",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Select so many rows (a count or a fraction) with each --method."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="Method to select with; may be given several times. [default: bids]"),
    ] = None,
    normalization: NormalizationOption = "zscore",
    seed: Annotated[int, typer.Option(help="Seed of the random methods.")] = 0,
    stability: Annotated[
        bool,
        typer.Option(
            help="Also select with each task (and checkpoint, where the matrix has them) left out, "
            "with --budget and the first --method."
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write analysis.json, the tables as Parquet and plots."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show which tasks a pool and selections from it influence, and whether to trust them."""
    from bids_core.diagnostics.analysis import analyze as analyze_matrix
    from bids_core.diagnostics.stability import checkpoint_agreement
    from flows.commands.matrix_input import open_labelled, showing_warnings

    labelled = open_labelled(matrix, tasks, sources)
    methods = method or ["bids"]
    with showing_warnings():
        sets = _read_sets(selection or [], labelled)
        if budget is not None:
            sets |= _make_sets(labelled, parse_budget(budget), methods, normalization, seed)
        found = analyze_matrix(
            labelled.matrix,
            sets,
            tasks=labelled.labels.tasks,
            capabilities=labelled.labels.capabilities,
            sources=labelled.labels.sources,
            normalization=normalization,
        )
        if len(labelled.checkpoints) > 1:
            found.tables["checkpoint_agreement"] = checkpoint_agreement(labelled.checkpoints)
        if stability:
            _add_stability(found, labelled, budget, methods[0], normalization)
    if out is not None:
        _write(found, out)
    if as_json:
        import json

        leave_out = () if out is None else _LARGE
        typer.echo(json.dumps(found.to_dict(leave_out=leave_out), allow_nan=False))
    else:
        _show(found)


def _read_sets(paths: list[Path], labelled: LabelledMatrix) -> dict[str, Picks]:
    from bids_core.errors import UserError
    from bids_core.selection_files import read_selection

    sets: dict[str, Picks] = {}
    for path in paths:
        if path.stem in sets:
            msg = f"two selections are called {path.stem!r}: rename one of the files"
            raise UserError(msg)
        sets[path.stem] = read_selection(path, labelled.labels)
    return sets


def _make_sets(
    labelled: LabelledMatrix,
    budget: int | float,
    methods: list[str],
    normalization: str,
    seed: int,
) -> dict[str, Picks]:
    from bids_core.selection import select

    return {
        name: select(
            labelled.matrix,
            budget,
            method=name,
            normalization=normalization,
            tasks=labelled.labels.tasks,
            subtasks=labelled.labels.subtasks,
            sources=labelled.labels.sources,
            seed=seed,
        )
        for name in methods
    }


def _add_stability(
    found: Analysis,
    labelled: LabelledMatrix,
    budget: str | None,
    method: str,
    normalization: str,
) -> None:
    from bids_core.diagnostics.stability import leave_one_out, leave_out_checkpoints
    from bids_core.errors import UserError

    if budget is None:
        msg = "--stability needs --budget: how many rows to select each time"
        raise UserError(msg)
    count = parse_budget(budget)
    found.tables["stability"] = leave_one_out(
        labelled.matrix,
        count,
        tasks=labelled.labels.tasks,
        method=method,
        normalization=normalization,
    )
    if labelled.checkpoints:
        found.tables["checkpoint_stability"] = leave_out_checkpoints(
            labelled.checkpoints,
            labelled.checkpoint_weights,
            count,
            tasks=labelled.labels.tasks,
            method=method,
            normalization=normalization,
        )


def _write(found: Analysis, folder: Path) -> None:
    from bids_core.diagnostics.plots import write_page
    from bids_core.errors import UserError

    try:
        found.write(folder)
        write_page(found, folder / "plots.html")
    except OSError as error:
        msg = f"{folder} can not be written: {error}"
        raise UserError(msg) from error


def _show(found: Analysis) -> None:
    from flows.commands.matrix_input import output_console
    from flows.console import table

    console = output_console()
    facts, tables = found.facts, found.tables
    scale = facts["normalization"]
    merged = tables["aid_tasks"].merge(tables["thi"], on=["set", "task"])
    for name, size in facts["sets"].items():
        rows = merged[merged["set"] == name].drop(columns="set").itertuples(index=False)
        heads = ["task", "instances", "AID", f"AID ({scale})", "THI, task mean", "THI, instance"]
        console.print(table(f"{name} ({size:,} rows)", heads, [list(row) for row in rows]))
        imbalance = facts["imbalance"][name]
        if imbalance == imbalance:
            console.print(
                f"mean difference of AID ({scale}) between tasks: {imbalance:.3f}", highlight=False
            )
        console.print()
    for name, title in {
        "overlap": "Overlap of selections",
        "stability": "Selection with one task left out",
        "checkpoint_agreement": "Agreement of checkpoints on the influence",
        "checkpoint_stability": "Selection with one checkpoint left out",
    }.items():
        if name in tables:
            frame = tables[name]
            if name == "overlap":  # the table has smaller budgets too
                frame = frame[~frame.duplicated(["first", "second"], keep="last")]
            heads = [str(column).replace("_", " ") for column in frame]
            rows = frame.itertuples(index=False)
            console.print(table(title, heads, [list(row) for row in rows]))
            console.print()
    doubtful = tables["columns"][tables["columns"]["doubtful"] != ""]
    if len(doubtful):
        heads = ["validation_id", "task", "skewness", "excess_kurtosis", "bimodality", "doubtful"]
        rows = doubtful[heads].head(20).itertuples(index=False)
        console.print(
            table(
                f"Columns on which a z-score is doubtful ({len(doubtful)} of {facts['columns']})",
                heads,
                [list(row) for row in rows],
            )
        )
