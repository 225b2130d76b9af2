"""`bids report`: build the report of a finished run anew and show its result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bids_core.errors import ConfigError
from flows.commands.command import Command


def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder: runs/NAME.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write report.html of a finished run again and print its summary."""
    manifest = run_folder / "manifest.json"
    if not manifest.is_file():
        msg = f"{run_folder}: no manifest.json there; give the folder of a run, such as runs/demo"
        raise ConfigError(msg)
    from bids_core.config.load import check_config
    from flows.commands.run import print_result, summarize
    from tasks.run_folder import write_run_folder
    from tasks.run_result import RunResult

    content = json.loads(manifest.read_text(encoding="utf-8"))
    config = check_config(content["config"], origin=str(manifest))
    result = write_run_folder(config, RunResult.model_validate(content["result"]))
    if as_json:
        typer.echo(json.dumps(summarize(result), indent=1))
    else:
        print_result(result)


COMMAND = Command(report, place=60)
