"""`bids store`: look at, verify and clean the artifact store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from bids_core.errors import ArtifactError, ConfigError

store = typer.Typer(help="Look at, verify and clean the artifact store.", no_args_is_help=True)

Location = Annotated[str, typer.Option("--store", help="Folder or URL of the store.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@store.command()
def ls(store_url: Location = ".bids", as_json: AsJson = False) -> None:
    """List the artifacts with size, age and what they are."""
    from bids_core.artifacts import ArtifactStore

    artifacts = ArtifactStore(store_url)
    rows: list[dict[str, Any]] = []
    for handle in artifacts.ls():
        problems = artifacts.verify(handle)
        record = {} if problems else handle.record()
        rows.append(
            {
                "artifact": handle.key,
                "bytes": artifacts.size(handle),
                "seconds": record.get("seconds"),
                "created": record.get("created"),
                "state": problems[0] if problems else "whole",
            }
        )
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    from flows.console import output_console, table

    shown = [
        [r["artifact"], f"{r['bytes'] / 2**20:.1f} MiB", r["seconds"], r["created"], r["state"]]
        for r in rows
    ]
    columns = ["artifact", "size", "seconds", "created", "state"]
    output_console().print(table(f"{artifacts.url}", columns, shown))
    typer.echo(f"{len(rows)} artifacts, {sum(r['bytes'] for r in rows) / 2**20:.1f} MiB")


@store.command()
def verify(store_url: Location = ".bids", as_json: AsJson = False) -> None:
    """Check every file of every artifact against its checksum; exit 1 if any is damaged."""
    from bids_core.artifacts import ArtifactStore

    artifacts = ArtifactStore(store_url)
    problems = {handle.key: artifacts.verify(handle) for handle in artifacts.ls()}
    damaged = {key: found for key, found in problems.items() if found}
    if as_json:
        typer.echo(json.dumps({"checked": len(problems), "damaged": damaged}, indent=1))
    else:
        for key, found in damaged.items():
            typer.echo(f"{key}: {'; '.join(found)}")
        typer.echo(f"{len(problems)} artifacts checked, {len(damaged)} damaged")
    if damaged:
        msg = f"{len(damaged)} artifacts are damaged; run again to compute them anew"
        raise ArtifactError(msg)


@store.command()
def gc(
    store_url: Location = ".bids",
    runs: Annotated[Path, typer.Option(help="Folder of the runs whose artifacts are kept.")] = Path(
        "runs"
    ),
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete; without it, only list.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List (or delete) the artifacts that no run in RUNS refers to, and what killed runs left."""
    from bids_core.artifacts import ArtifactStore

    artifacts = ArtifactStore(store_url)
    manifests = sorted(runs.glob("*/manifest.json"))
    if not manifests:
        msg = f"--runs {runs}: no run there, so everything would go; give the folder of your runs"
        raise ConfigError(msg)
    kept: set[str] = set()
    for path in manifests:
        stages = json.loads(path.read_text(encoding="utf-8"))["stages"].values()
        kept |= {f"{stage['stage']}/{stage['fingerprint']}" for stage in stages}
    unused = [handle for handle in artifacts.ls() if handle.key not in kept]
    freed = sum(artifacts.size(handle) for handle in unused)
    if delete:
        for handle in unused:
            artifacts.remove(handle)
        artifacts.remove_leftovers()
    if as_json:
        keys = [handle.key for handle in unused]
        typer.echo(json.dumps({"unused": keys, "bytes": freed, "deleted": delete}, indent=1))
        return
    for handle in unused:
        typer.echo(handle.key)
    verb = "deleted" if delete else "would be deleted with --delete"
    typer.echo(f"{len(unused)} artifacts, {freed / 2**20:.1f} MiB {verb}")
