"""`bids store`: look at, verify and clean the artifact store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bids_core.errors import ArtifactError, ConfigError
from flows.commands.command import Command

if TYPE_CHECKING:
    from bids_core.artifacts import ArtifactStore, Survey

store = typer.Typer(help="List, verify and clean the artifact store.", no_args_is_help=True)
COMMAND = Command(store, place=110, name="store")

Location = Annotated[str, typer.Option("--store", help="Folder or URL of the store.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]

_MIB = 2**20
_SHOWN = 10


@store.command()
def ls(store_url: Location = ".bids", as_json: AsJson = False) -> None:
    """List the artifacts: kind, method, runs, size and age."""
    artifacts = _existing(store_url)
    from flows.commands.store_listing import list_artifacts, shown_rows, size_words

    rows = list_artifacts(artifacts)
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    from flows.console import output_console, table

    output_console().print(table(f"{artifacts.url}", *shown_rows(rows)))
    typer.echo(f"{len(rows)} artifacts, {size_words(sum(row['bytes'] for row in rows))}")


@store.command()
def verify(store_url: Location = ".bids", as_json: AsJson = False) -> None:
    """Check every file of every artifact against its checksum; exit 1 if any is damaged."""
    artifacts = _existing(store_url)
    problems = {handle.key: artifacts.verify(handle) for handle in artifacts.ls()}
    damaged = {key: found for key, found in problems.items() if found}
    if as_json:
        typer.echo(json.dumps({"checked": len(problems), "damaged": damaged}, indent=1))
    else:
        for key, found in damaged.items():
            typer.echo(f"{key}: {'; '.join(found)}")
        typer.echo(f"{len(problems)} artifacts checked, {len(damaged)} damaged")
    if damaged:
        msg = f"{len(damaged)} artifacts are damaged; run again to compute them again"
        raise ArtifactError(msg)


@store.command()
def gc(
    store_url: Location = ".bids",
    runs: Annotated[
        list[Path] | None,
        typer.Option(
            help="Also read the manifests of the runs in this folder, for runs older than "
            "the store's ledger or moved here from another machine."
        ),
    ] = None,
    forget: Annotated[
        list[str] | None,
        typer.Option(help="Name of a run or comparison whose artifacts need not be kept."),
    ] = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete; without it, only list.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List (or delete) artifacts that no run needs, and leftovers of killed processes.

    Keeps everything that a run or comparison of this store refers to (as long as its folder
    exists), the inputs of that, and whatever is being computed; so it can run beside a pipeline.
    """
    from bids_core.artifacts import collect, survey

    artifacts = _existing(store_url)
    folders = runs if runs is not None else [Path("runs")] if Path("runs").is_dir() else []
    names = frozenset(forget or ())
    found = (collect if delete else survey)(artifacts, folders=folders, forget=names)
    if as_json:
        typer.echo(json.dumps(_as_json(found, deleted=delete), indent=1))
        return
    for line in _as_text(found, deleted=delete):
        typer.echo(line)


def _existing(store_url: str) -> ArtifactStore:
    from bids_core.artifacts import ArtifactStore

    artifacts = ArtifactStore(store_url)
    if not artifacts.is_store():
        msg = (
            f"--store {store_url}: no store there; give the `store` of your configuration, or "
            "run from the configuration's folder"
        )
        raise ConfigError(msg)
    return artifacts


def _as_json(found: Survey, *, deleted: bool) -> dict[str, Any]:
    return {
        "unused": [handle.key for handle in found.unused],
        "bytes": sum(found.sizes.values()),
        "kept": found.kept,
        "foreign": list(found.foreign),
        "drafts": [str(path) for path in found.drafts],
        "runs": [entry.label for entry in found.runs],
        "gone": [entry.label for entry in found.gone],
        "deleted": deleted,
    }


def _as_text(found: Survey, *, deleted: bool) -> list[str]:
    lines = [
        f"{entry.label}: keeps nothing; its folder is gone ({entry.folder})" for entry in found.gone
    ]
    lines += [
        f"{entry.label} ({entry.state}): keeps {len(entry.artifacts)} artifacts"
        for entry in found.runs
    ]
    for handle in found.unused:
        size = f"{found.sizes[handle.key] / _MIB:.1f} MiB"
        lines.append(f"{handle.key}: no run refers to it, {size}")
    lines += [f"{path.name}: left half-written by a killed process" for path in found.drafts]
    if found.foreign:
        more = f" and {len(found.foreign) - _SHOWN} more" if len(found.foreign) > _SHOWN else ""
        names = ", ".join(found.foreign[:_SHOWN])
        lines.append(f"not BIDS artifacts, left alone: {names}{more}")
    verb = "deleted" if deleted else "would be deleted with --delete"
    size = f"{sum(found.sizes.values()) / _MIB:.1f} MiB"
    drafts = f" and {len(found.drafts)} half-written folders" if found.drafts else ""
    lines.append(
        f"{len(found.unused)} artifacts, {size},{drafts} {verb}; {len(found.kept)} are kept"
    )
    return lines
