"""`bids explain`: why a row was picked, or was not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bids_core.config.find import MANIFEST
from bids_core.errors import UserError
from flows.commands.command import ANY_ROW, Command
from flows.commands.select import SourcesOption, TasksOption
from flows.commands.show_explanation import show_explanation

if TYPE_CHECKING:
    from collections.abc import Callable

    from bids_core.diagnostics.explain import Explanation
    from flows.commands.explain_input import ExplainInput


def explain(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|PICKS",
            help="A run's folder (runs/NAME), or picks written by `bids select --out`.",
        ),
    ],
    row: Annotated[
        str,
        typer.Argument(
            metavar="ROW",
            help="A row id, file:line, or rank:3 for the third pick.",
        ),
    ],
    method: Annotated[
        str | None,
        typer.Option(
            help="Selection to explain, by its method. (default: the run's main method; that "
            "of the picks)"
        ),
    ] = None,
    matrix: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Matrix that PICKS were made from, if the file does not say.",
        ),
    ] = None,
    tasks: TasksOption = None,
    sources: SourcesOption = None,
    texts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Training texts to show with PICKS."),
    ] = None,
    validation_texts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Validation texts to show with PICKS."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show why a training row was picked, or why not, and what would be picked instead."""
    from bids_core.diagnostics.explain import explain_row
    from bids_core.diagnostics.inferred import inferred_from
    from flows.commands.explain_input import open_picks, open_run
    from flows.commands.matrix_input import refuse_matrix
    from flows.console import error_console

    if not run.exists():
        msg = f"{run} does not exist; give a run's folder, or picks written by `bids select --out`"
        raise UserError(msg)
    if run.is_file() and run.name != MANIFEST:
        given = open_picks(
            run, method=method, matrix=matrix, tasks=tasks, sources=sources, texts=texts,
            validation_texts=validation_texts,
        )  # fmt: skip
    else:
        if run.suffix == ".zarr":
            refuse_matrix(run)
        given = open_run(run.parent if run.is_file() else run, method)
    labels = given.labelled.labels
    place = _find(row, given)
    found = explain_row(
        given.labelled.matrix,
        given.selection,
        place,
        tasks=labels.tasks,
        subtasks=labels.subtasks,
        sources=labels.sources,
        seed=given.seed,
    )
    found = replace(found, inferred=inferred_from(given.labelled, place))
    if given.lacking is not None:
        error_console().print(f"note: {given.lacking}", markup=False)
    shown = _texts(found, given.text_of)
    source = None if labels.sources is None else labels.sources[found.row]
    if as_json:
        facts = {"method": given.method, "source": source}
        typer.echo(json.dumps(facts | found.to_dict() | {"texts": shown}, ensure_ascii=False))
    else:
        show_explanation(found, shown, method=given.method, source=source)


COMMAND = Command(explain, place=90, options={"context_settings": ANY_ROW})


def _texts(found: Explanation, text_of: Callable[[str], str | None]) -> dict[str, str]:
    """Return the texts, if known, of the rows and instances in an explanation."""
    instances = (found.winner, found.worth_most_for)
    names = [
        found.row_id,
        *(one.validation_id for one in instances if one is not None),
        *([] if found.instead is None else [found.instead]),
        *(pick.row_id for pick in found.covered_by[:1]),
        *(
            ()
            if found.inferred is None or not found.inferred.landmark
            else [found.inferred.landmark]
        ),
    ]
    texts = {name: text_of(name) for name in names}
    return {name: text for name, text in texts.items() if text is not None}


def _find(row: str, given: ExplainInput) -> int:
    labelled, selection = given.labelled, given.selection
    ids = list(labelled.matrix.row_ids or map(str, range(labelled.matrix.n_rows)))
    if row in ids:  # whatever it looks like
        return ids.index(row)
    if row.startswith("rank:"):
        rank = row.removeprefix("rank:")
        if not rank.isdigit() or not 1 <= int(rank) <= len(selection):
            msg = f"{row}: a rank must be a number from 1 to {len(selection)}"
            raise UserError(msg)
        return int(selection.indices[int(rank) - 1])
    ends = [place for place, name in enumerate(ids) if _ends(given.locations.get(name, name), row)]
    if len(ends) == 1:  # file:line, as in `bids show`
        return ends[0]
    rejected = {why for name, why in given.rejects.items() if _ends(name, row)}
    if len(rejected) == 1:
        msg = f"{row} is not in the pool, because it was rejected: {rejected.pop()}"
        raise UserError(msg)
    there = set(ids)
    screened = [
        name
        for name, location in given.locations.items()
        if name not in there and (name == row or _ends(location, row))
    ]
    if len(screened) == 1:
        msg = (
            f"{row} has no influence to explain, because the screen left it out; raise "
            "screen.keep to compute more rows, or remove screen (docs/cheaper.md)"
        )
        raise UserError(msg)
    import difflib

    near = difflib.get_close_matches(row, ids, n=3)
    hint = f"; the nearest are {', '.join(near)}" if near else ""
    msg = f"the pool has no row {row!r}{hint}; rank:1 is the first pick"
    raise UserError(msg)


def _ends(name: str, row: str) -> bool:
    """Whether a row has this name, or its name or location ends with it (`train.jsonl:17`)."""
    return name == row or name.endswith((f":{row}", f"/{row}"))
