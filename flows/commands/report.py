"""`bids report`: build the report of a finished run again and show its result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.command import Command


def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder: runs/NAME.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write report.html of a finished run again and print its summary."""
    from tasks.manifest import read_manifest

    read_manifest(run_folder)  # report mistakes before importing torch
    from flows.commands.run import print_result, summarize
    from tasks.run_folder import write_run_folder_anew

    result = write_run_folder_anew(run_folder)
    if as_json:
        typer.echo(json.dumps(summarize(result), indent=1))
    else:
        print_result(result)


COMMAND = Command(report, place=60)
