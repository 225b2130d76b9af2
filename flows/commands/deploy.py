"""`bids deploy`: work pools, queues, deployments and automations onto a Prefect server."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.command import Command

if TYPE_CHECKING:
    from bids_core.config import RunConfig
    from flows.deployment.connection import Change


def deploy(
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="FLOW/DEPLOYMENT", help="Only this deployment. May be repeated."),
    ] = None,
    nightly: Annotated[
        Path | None,
        typer.Option(
            metavar="CONFIG",
            help="Configuration (YAML) for the nightly schedule, which stays off until you "
            "switch it on.",
        ),
    ] = None,
    notify: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="BIDS_NOTIFY_URL",
            help="Webhook (Slack, or any that accepts JSON) to notify of failed and crashed runs.",
        ),
    ] = None,
    kubernetes: Annotated[
        bool, typer.Option("--kubernetes", help="Also create the pool gpu-kubernetes.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Put work pools, deployments and automations onto the server of PREFECT_API_URL.

    Run it again after an update to bring everything up to date. Limits, pauses and your changes to
    the schedule stay.
    """
    from bids_core.config.load import load_config
    from flows.console import error_console

    config = None if nightly is None else load_config(nightly)
    console = error_console()
    from flows.deployment.connection import check_server
    from flows.deployment.deployments import read_entries

    url = check_server()
    read_entries(only or [])  # refuse an unknown name before changing anything
    console.print(f"Deploying to {url} (about 20 s) ...", highlight=False)
    changes, stale = asyncio.run(
        _apply(only or [], nightly=config, notify=notify or None, kubernetes=kubernetes)
    )
    if as_json:
        made = [asdict(change) for change in changes]
        typer.echo(json.dumps({"url": url, "changes": made, "stale": stale}, indent=1))
    else:
        _show(changes, stale)


COMMAND = Command(deploy, place=100)


async def _apply(
    only: list[str], *, nightly: RunConfig | None, notify: str | None, kubernetes: bool
) -> tuple[list[Change], list[str]]:
    from prefect.client.orchestration import get_client

    from flows.deployment.automations import apply_automations
    from flows.deployment.connection import check_settings
    from flows.deployment.deployments import apply_deployments, read_entries, stale_deployments
    from flows.deployment.pools import apply_pools, read_pools

    os.environ.setdefault("DO_NOT_TRACK", "1")
    async with get_client() as client:
        changes = [
            change async for change in apply_pools(client, read_pools(kubernetes=kubernetes))
        ]
        changes += await apply_deployments(client, read_entries(only), nightly=nightly)
        if not only:
            changes += await apply_automations(client, notify=notify)
            changes += await check_settings(client)
        return changes, await stale_deployments(client)


def _show(changes: list[Change], stale: list[str]) -> None:
    from flows.console import output_console, table

    console = output_console()
    queues = [change for change in changes if change.kind == "queue"]
    rows = [
        [change.kind, change.name, change.outcome, change.note]
        for change in changes
        if change.kind != "queue"
    ]
    counted = Counter(change.outcome for change in queues)
    note = ", ".join(f"{count} {outcome}" for outcome, count in counted.items())
    names = sorted({change.name.split("/")[1] for change in queues})
    rows.append(["queues", f"{', '.join(names)} in each pool", "", note])
    console.print(table("On the server", ["what", "name", "outcome", "note"], rows))
    console.print()
    for name in stale:
        console.print(
            f"{name} is on the server, but not one of ours; to remove it: prefect deployment "
            f"delete '{name}'"
        )
    console.print("Start workers on the machines that do the work, in the folder with the data:")
    console.print("  prefect worker start --pool cpu")
    console.print(
        "  CUDA_VISIBLE_DEVICES=0 prefect worker start --pool gpu --limit 1   # one per GPU"
    )
    console.print("Then start a run in the UI, or:")
    console.print("  prefect deployment run select-data/pipeline --params '{\"config\": {...}}'")
