"""`bids audit`: rows that hurt, likely wrong answers, near misses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from flows.budget import budget_option
from flows.commands.command import Command
from flows.commands.late_help import LateHelp
from flows.commands.select import (
    JsonOption,
    NormalizationOption,
    SourcesOption,
    TasksOption,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from bids_core.diagnostics.audit import Audit

SUFFIXES: Final = (".parquet", ".csv", ".jsonl")
_SHOWN: Final = 10
_TEXT_SHOWN: Final = 50
_HARM: Final[tuple[str, ...]] = (
    "row id",
    "source",
    "harm",
    "best for",
    "worst for",
    "rank",
    "text",
)
_NEAR: Final[tuple[str, ...]] = (
    "row id",
    "source",
    "utility",
    "winning validation",
    "covered by",
    "text",
)


def audit(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|CONFIG|MATRIX",
            help="A run's folder (runs/NAME), a configuration (YAML) that was run, or an "
            "attribution matrix as for `bids select`.",
        ),
    ],
    tasks: TasksOption = None,
    sources: SourcesOption = None,
    texts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Training texts of a MATRIX, as for `bids select`."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Near misses are rows just below this budget, a count or a fraction. "
            "(default: the run's; none for a MATRIX)"
        ),
    ] = None,
    near: Annotated[int, typer.Option(min=0, help="Near misses, at most.")] = 20,
    normalization: NormalizationOption = "zscore",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the whole list to this file: .parquet, .csv or .jsonl."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List rows worth a second look: those that hurt, likely wrong answers, near misses."""
    from bids_core.diagnostics.audit import audit_pool
    from flows.commands.audit_input import open_target
    from flows.commands.matrix_input import showing_warnings

    if out is not None:
        _check_out(out)
    count = None if budget is None else budget_option(budget)
    given = open_target(target, tasks=tasks, sources=sources, texts=texts)
    with showing_warnings():
        found = audit_pool(
            given.labelled.matrix,
            given.labelled.labels.tasks,
            budget=given.budget if count is None else count,
            sources=given.labelled.labels.sources,
            texts=given.texts,
            normalization=normalization,
            near=near,
        )
    if out is not None:
        _write(found.table, out)
    if as_json:
        typer.echo(_as_json(found))
    else:
        _show(found, out)


COMMAND = Command(audit, place=95, options={"cls": LateHelp})


def _check_out(out: Path) -> None:
    from bids_core.errors import UserError
    from flows.commands.out_path import require_folder

    if out.suffix.lower() not in SUFFIXES:
        msg = f"--out {out}: the suffix must be one of {', '.join(SUFFIXES)}"
        raise UserError(msg)
    require_folder(out)


def _write(table: pd.DataFrame, out: Path) -> None:
    from bids_core.errors import UserError
    from bids_core.formatting import without_formulas

    suffix = out.suffix.lower()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if suffix == ".parquet":
            table.to_parquet(out, index=False)
        elif suffix == ".csv":
            without_formulas(table).to_csv(out, index=False)
        else:
            table.to_json(out, orient="records", lines=True, double_precision=15, force_ascii=False)
    except OSError as error:
        msg = f"{out} cannot be written: {error}"
        raise UserError(msg) from error


def _as_json(found: Audit) -> str:
    import json

    from bids_core.diagnostics.audit_words import audit_words

    rows = json.loads(found.table.to_json(orient="records", double_precision=15))
    facts = {"rows": found.n_rows, "tasks": found.n_tasks, "counts": found.counts}
    return json.dumps(
        facts | {"picked": found.picked, "words": audit_words(found), "found": rows},
        ensure_ascii=False,
    )


def _show(found: Audit, out: Path | None) -> None:
    from bids_core.diagnostics.audit import NEAR_MISS, REASONS
    from bids_core.diagnostics.audit_words import audit_words
    from flows.console import output_console, table

    console = output_console()
    for name, part in found.table.groupby("reason", sort=False):
        heads = _NEAR if name == NEAR_MISS else _HARM
        if found.n_tasks == 1:  # already covered by harm
            heads = tuple(head for head in heads if head not in ("best for", "worst for"))
        lines = [[_cell(line, head) for head in heads] for line in part.to_dict("records")[:_SHOWN]]
        known = [i for i in range(len(heads)) if any(line[i] is not None for line in lines)]
        first = f", the first {len(lines)}" if len(lines) < len(part) else ""
        title = f"{name}: {REASONS[str(name)]} ({len(part):,} rows{first})"
        shown = [[line[i] for i in known] for line in lines]
        console.print(table(title, [heads[i] for i in known], shown))
        console.print()
    console.print(" ".join(audit_words(found)), markup=False)
    where = f"The list is in {out}" if out is not None else "--out FILE writes the whole list"
    console.print(where, markup=False)


def _cell(line: Mapping[Any, Any], head: str) -> object:
    """Return a cell of the table; None if it is empty."""
    import pandas as pd

    if head in ("best for", "worst for"):
        kind = head.split()[0]
        return f"{line[f'{kind}_task']} {line[kind]:.1f}"
    value = line[head.replace(" ", "_")]
    if pd.isna(value):
        return None
    return value[:_TEXT_SHOWN] if head == "text" else value
