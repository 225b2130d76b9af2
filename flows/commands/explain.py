"""`bids explain`: why a row was picked, or was not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bids_core.errors import ConfigError, UserError
from flows.commands.command import ANY_ROW, Command

if TYPE_CHECKING:
    from bids_core.artifacts import Handle
    from bids_core.diagnostics.explain import Explanation
    from bids_core.influence.files import LabelledMatrix
    from bids_core.selection import Selection

_LONGEST = 1200


def explain(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder: runs/NAME.")],
    row: Annotated[
        str,
        typer.Argument(
            metavar="ROW",
            help="A row id, or rank:3 for the third pick (where no row has that id).",
        ),
    ],
    method: Annotated[
        str | None, typer.Option(help="Method whose selection is meant. [default: the run's main]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show why a training row was picked, or why not, and what would be picked instead."""
    from bids_core.artifacts import Handle
    from bids_core.data import PreparedData
    from bids_core.diagnostics.explain import explain_row
    from bids_core.selection.names import method_name

    manifest = _read_manifest(run_folder)
    result, section = manifest["result"], manifest["config"]["selection"]
    asked = {
        method_name(known): known for known in (section["method"], *section.get("compare", ()))
    }
    name = method_name(method or section["method"])
    if result.get("matrix") is None or name not in result.get("selections", {}):
        made = ", ".join(result.get("selections", {})) or "none"
        msg = f"{run_folder}: the run has no selection of method {name!r} (it has: {made})"
        raise UserError(msg)
    data = PreparedData.load(Handle(**result["data"]).path())
    pool = data.train.frame.set_index("row_id")
    labelled = _open_matrix(
        Handle(**result["matrix"]),
        dict(zip(pool.index.map(str), pool["source"].map(str), strict=True)),
    )
    handle = Handle(**result["selections"][name])
    selection = _open_selection(handle, labelled, asked.get(name, name))
    found = explain_row(
        labelled.matrix,
        selection,
        _find(row, labelled, selection),
        tasks=labelled.labels.tasks,
        subtasks=labelled.labels.subtasks,
        sources=labelled.labels.sources,
        seed=int(handle.record()["seed"] or 0),
    )
    validation = data.validation.frame.set_index("row_id")["messages"].to_dict()
    texts = {found.row_id: _text(pool.loc[found.row_id, "messages"])}
    if found.winner is not None:
        texts[found.winner.validation_id] = _text(validation[found.winner.validation_id])
    if found.instead is not None:
        texts[found.instead] = _text(pool.loc[found.instead, "messages"])
    if as_json:
        facts = {"method": name, "source": str(pool.loc[found.row_id, "source"])}
        typer.echo(json.dumps(facts | found.to_dict() | {"texts": texts}, ensure_ascii=False))
    else:
        _show(found, texts, name, str(pool.loc[found.row_id, "source"]))


COMMAND = Command(explain, place=90, options={"context_settings": ANY_ROW})


def _read_manifest(run_folder: Path) -> dict[str, Any]:
    path = run_folder / "manifest.json"
    if not path.is_file():
        msg = f"{run_folder}: no manifest.json there; give the folder of a run, such as runs/demo"
        raise ConfigError(msg)
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _open_matrix(handle: Handle, source_of: dict[str, str]) -> LabelledMatrix:
    from dataclasses import replace

    from bids_core.influence.files import read_matrix

    labelled = read_matrix(_only(handle, "*.zarr"))
    ids = labelled.matrix.row_ids or ()
    labels = replace(labelled.labels, sources=tuple(source_of[name] for name in ids))
    return replace(labelled, labels=labels)


def _open_selection(handle: Handle, labelled: LabelledMatrix, method: str) -> Selection:
    from dataclasses import replace

    from bids_core.selection import METHODS, Selection
    from bids_core.selection.files import read_selection

    selection = read_selection(_only(handle, "*.parquet"), labelled.labels)
    if not isinstance(selection, Selection):
        msg = f"{handle.key}: the selection does not say what its picks were worth; run it again"
        raise UserError(msg)
    normalization = handle.record()["config"]["selection"]["normalization"]
    used = METHODS[method].normalized
    return replace(selection, method=method, normalization=normalization if used else "none")


def _only(handle: Handle, pattern: str) -> Path:
    return next(iter(sorted(handle.path().glob(pattern))))


def _find(row: str, labelled: LabelledMatrix, selection: Selection) -> int:
    ids = list(labelled.matrix.row_ids or ())
    if row in ids:  # whatever it looks like
        return ids.index(row)
    if row.startswith("rank:"):
        rank = row.removeprefix("rank:")
        if not rank.isdigit() or not 1 <= int(rank) <= len(selection):
            msg = f"{row}: a rank is a number from 1 to {len(selection)}"
            raise UserError(msg)
        return int(selection.indices[int(rank) - 1])
    import difflib

    near = difflib.get_close_matches(row, ids, n=3)
    hint = f"; the nearest are {', '.join(near)}" if near else ""
    msg = f"the pool has no row {row!r}{hint}"
    raise UserError(msg)


def _text(messages: object) -> str:
    from bids_core.data import from_json
    from bids_core.data.conversation import said

    text = "\n".join(f"{message.role}: {said(message)}" for message in from_json(str(messages)))
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."


def _show(found: Explanation, texts: dict[str, str], method: str, source: str) -> None:
    from flows.console import output_console, table

    console = output_console()

    def say(text: str = "") -> None:
        console.print(text, markup=False)

    say(f"{found.row_id} (source {source})")
    say(_indented(texts[found.row_id]))
    say()
    if found.rank is None:
        utility = (
            "" if found.utility is None else f": worth {found.utility:.3f} after the last pick"
        )
        say(f"not among the {found.picks:,} picks of {method}{utility}")
        say(f"the last pick was worth {found.last_utility:.3f}")
    else:
        say(f"pick {found.rank:,} of {found.picks:,} of {method}, worth {found.utility:.3f}")
    if found.winner is not None:
        task = f", task {found.winner.task}" if found.winner.task else ""
        say(f"for validation instance {found.winner.validation_id}{task}:")
        say(_indented(texts[found.winner.validation_id]))
    say()
    rows = [[t.task, t.influence, t.normalized, f"{t.percentile:.1f}%"] for t in found.tasks]
    heads = ["task", "influence", "normalised", "above so much of the pool"]
    console.print(table("Influence on the tasks", heads, rows))
    say()
    rows = [[i.validation_id, i.task, i.influence, i.normalized] for i in found.instances]
    heads = ["validation instance", "task", "influence", "normalised"]
    console.print(table("Instances it influences most", heads, rows))
    if found.instead is not None:
        say(f"\nwithout it, {found.instead} takes its rank:")
        say(_indented(texts[found.instead]))
        say(f"and the selection gains {', '.join(found.entering) or 'no row'}")


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
