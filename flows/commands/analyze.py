"""`bids analyze`: what a pool and selections influence, and whether to trust the selections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.budget import budget_option
from flows.commands.command import Command
from flows.commands.late_help import LateHelp
from flows.commands.select import (
    JsonOption,
    MatrixArgument,
    NormalizationOption,
    SourcesOption,
    TasksOption,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from bids_core.diagnostics.analysis import Analysis
    from bids_core.influence.files import LabelledMatrix
    from bids_core.selection import Request, Selection

    Picks = Selection | npt.NDArray[np.int64]

_LARGE = ("histograms", "utility")
_LEFT_OUT = ("task", "instance", "checkpoint")


def analyze(
    matrix: MatrixArgument,
    tasks: TasksOption = None,
    sources: SourcesOption = None,
    selection: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A selection to compare with the pool, as written by `bids select --out`; "
            "may be given several times.",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Select this many rows (a count or a fraction) with each --method."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="Selection method; may be given several times. (default: bids)"),
    ] = None,
    normalization: NormalizationOption = "zscore",
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Seed of the random methods.")
    ] = 0,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="task|instance|checkpoint",
            help="Also select with each task, instance or checkpoint left out in turn (needs "
            "--budget; uses the first --method); may be given several times.",
        ),
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Training texts, as for `bids select`, to find near-duplicates among the picks.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for analysis.json, the tables as Parquet, and plots.html."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show which tasks a pool and selections from it influence, and whether to trust them."""
    from bids_core.diagnostics.analysis import analyze as analyze_matrix
    from bids_core.diagnostics.stability import checkpoint_agreement
    from bids_core.selection import run_request
    from bids_core.selection.names import method_name
    from bids_core.selection.signal_files import read_texts
    from flows.commands.matrix_input import (
        naming_options,
        open_labelled,
        require_files,
        showing_warnings,
    )
    from flows.commands.out_path import require_folder
    from flows.commands.show_analysis import show_analysis

    if out is not None:
        require_folder(out)
    require_files(tasks=tasks, sources=sources, texts=texts)
    for path in selection or []:
        require_files(selection=path)
    labelled = open_labelled(matrix, tasks, sources)
    methods = method or ["bids"]
    _check_leave_out(leave_out or [], budget, labelled)
    with showing_warnings(), naming_options():
        sets = _read_sets(selection or [], labelled)
        requests = {}
        if budget is not None:
            count = budget_option(budget)
            requests = {n: _request(labelled, count, n, normalization, seed) for n in methods}
            made: dict[str, Picks] = {
                method_name(n): run_request(one) for n, one in requests.items()
            }
            _refuse_same_names(sets, made)
            sets |= made
        found = analyze_matrix(
            labelled.matrix,
            sets,
            tasks=labelled.labels.tasks,
            capabilities=labelled.labels.capabilities,
            sources=labelled.labels.sources,
            texts=None if texts is None else read_texts(texts)[1],
            normalization=normalization,
        )
        if len(labelled.checkpoints) > 1:
            found.tables["checkpoint_agreement"] = checkpoint_agreement(labelled.checkpoints)
        for what in leave_out or []:
            found.tables[f"without_{what}"] = _left_out(what, requests[methods[0]], labelled)
    if out is not None:
        given = None if texts is None else read_texts(texts)[1]
        _write(found, out, labelled, sets, name=matrix.stem, texts=given)
    if as_json:
        import json

        large = () if out is None else _LARGE
        typer.echo(json.dumps(found.to_dict(leave_out=large), allow_nan=False))
    else:
        show_analysis(found)


COMMAND = Command(analyze, place=80, options={"cls": LateHelp})


def _read_sets(paths: list[Path], labelled: LabelledMatrix) -> dict[str, Picks]:
    from bids_core.errors import UserError
    from bids_core.selection.files import read_selection

    sets: dict[str, Picks] = {}
    for path in paths:
        if path.stem in sets:
            msg = f"two selections are called {path.stem!r}: rename one of the files"
            raise UserError(msg)
        sets[path.stem] = read_selection(path, labelled.labels)
    return sets


def _request(
    labelled: LabelledMatrix, budget: int | float, method: str, normalization: str, seed: int
) -> Request:
    """Return the selection request, with which `--leave-out` selects again."""
    from bids_core.selection import make_request

    return make_request(
        labelled.matrix,
        budget,
        method=method,
        normalization=normalization,
        tasks=labelled.labels.tasks,
        subtasks=labelled.labels.subtasks,
        sources=labelled.labels.sources,
        row_ids=labelled.labels.row_ids,
        validation_ids=labelled.labels.validation_ids,
        seed=seed,
    )


def _refuse_same_names(sets: dict[str, Picks], made: dict[str, Picks]) -> None:
    from bids_core.errors import UserError

    for name in sets.keys() & made.keys():
        msg = (
            f"a selection from a file and one of --method are both called {name!r}: rename the file"
        )
        raise UserError(msg)


def _check_leave_out(kinds: list[str], budget: str | None, labelled: LabelledMatrix) -> None:
    from bids_core.errors import UserError

    for kind in kinds:
        if kind not in _LEFT_OUT:
            msg = f"--leave-out {kind}: choose one of {', '.join(_LEFT_OUT)}"
            raise UserError(msg)
        if budget is None:
            msg = "--leave-out needs --budget, the number of rows to select each time"
            raise UserError(msg)
        if kind == "checkpoint" and len(labelled.checkpoints) < 2:
            msg = (
                "--leave-out checkpoint: the matrix has no influence of single checkpoints; "
                "give a Zarr group with checkpoint_0, checkpoint_1, ..."
            )
            raise UserError(msg)


def _left_out(what: str, request: Request, labelled: LabelledMatrix) -> pd.DataFrame:
    from bids_core.diagnostics.stability import leave_one_out, leave_out_checkpoints

    if what == "checkpoint":
        return leave_out_checkpoints(
            request,
            per_checkpoint=labelled.checkpoints,
            weights=labelled.checkpoint_weights,
        )
    return leave_one_out(request, by=what)


def _write(
    found: Analysis,
    folder: Path,
    labelled: LabelledMatrix,
    sets: dict[str, Picks],
    *,
    name: str,
    texts: list[str] | None,
) -> None:
    from bids_core.errors import UserError
    from bids_core.report import write_analysis

    labels = labelled.labels
    try:
        found.write(folder)
        write_analysis(
            found,
            folder / "plots.html",
            labelled.matrix,
            sets,
            name=name,
            tasks=labels.tasks,
            capabilities=labels.capabilities,
            sources=labels.sources,
            texts=texts,
            row_ids=labels.row_ids,
            validation_ids=labels.validation_ids,
        )
    except OSError as error:
        msg = f"{folder} cannot be written: {error}"
        raise UserError(msg) from error
