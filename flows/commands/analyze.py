"""`bids analyze`: what a pool and a selection influence, and whether to trust the selection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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

    from bids_core.matrix_files import LabelledMatrix


def analyze(
    matrix: MatrixArgument,
    tasks: TasksOption = None,
    sources: SourcesOption = None,
    selection: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A selection to compare with the pool, as `bids select --out` writes it.",
        ),
    ] = None,
    normalization: NormalizationOption = "zscore",
    as_json: JsonOption = False,
) -> None:
    """Show which tasks a pool (and a selection from it) influences."""
    from bids_core.matrix_files import read_selection
    from flows.commands.matrix_input import open_labelled, showing_warnings

    labelled = open_labelled(matrix, tasks, sources)
    picks = None if selection is None else read_selection(selection, labelled)
    with showing_warnings():
        facts = _facts(labelled, picks, normalization)
    if as_json:
        import json

        typer.echo(json.dumps(facts, allow_nan=False))
    else:
        _show(facts)


def _facts(
    labelled: LabelledMatrix, picks: npt.NDArray[np.int64] | None, normalization: str
) -> dict[str, Any]:
    import numpy as np

    from bids_core.diagnostics import average_influence_distribution, task_highest_influence
    from bids_core.normalization import normalize

    matrix = labelled.matrix
    tasks = labelled.tasks or ("all",) * matrix.n_columns
    normalized = normalize(matrix, normalization)
    usable = np.isfinite(normalized[0])
    tasks_kept = [task for task, keep in zip(tasks, usable, strict=True) if keep]
    normalized = np.ascontiguousarray(normalized[:, usable])
    sets = {"pool": None} | ({} if picks is None else {"selection": picks})
    facts: dict[str, Any] = {
        "rows": matrix.n_rows,
        "columns": matrix.n_columns,
        "left_out": [matrix.column_name(int(c)) for c in np.flatnonzero(~usable)],
        "normalization": normalization,
    }
    for name, rows in sets.items():
        raw = average_influence_distribution(matrix, rows)
        scaled = average_influence_distribution(normalized, rows)
        facts[name] = {
            "rows": matrix.n_rows if rows is None else len(rows),
            "aid": raw.tolist(),
            "aid_per_task": _per_task(raw, tasks),
            "normalized_aid_per_task": _per_task(scaled, tasks_kept),
            "thi_task_mean": task_highest_influence(matrix, tasks, rows).to_dict(),
            "thi_instance": task_highest_influence(matrix, tasks, rows, by="instance").to_dict(),
        }
    return facts


def _per_task(aid: npt.NDArray[np.float64], tasks: Any) -> dict[str, float]:
    import pandas as pd

    return pd.Series(aid).groupby(list(tasks), sort=False).mean().to_dict()  # type: ignore[return-value]


def _show(facts: dict[str, Any]) -> None:
    from rich.console import Console

    from flows.console import table

    console = Console(soft_wrap=True)
    for name in ("pool", "selection"):
        if name in facts:
            part = facts[name]
            rows = [
                [task, part["aid_per_task"][task], part["normalized_aid_per_task"].get(task),
                 part["thi_task_mean"][task], part["thi_instance"][task]]
                for task in part["aid_per_task"]
            ]  # fmt: skip
            heads = ["task", "AID", f"AID ({facts['normalization']})",
                     "THI, task mean", "THI, instance"]  # fmt: skip
            console.print(table(f"{name} ({part['rows']:,} rows)", heads, rows))
            console.print()
