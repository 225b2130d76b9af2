"""`bids init`: a commented starter configuration."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from bids_core.errors import ConfigError
from flows.commands.command import Command


def init(
    directory: Annotated[Path, typer.Argument(help="Folder to write into.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite bids.yaml.")] = False,
) -> None:
    """Write a commented starter configuration, bids.yaml."""
    target = directory / "bids.yaml"
    if target.exists() and not force:
        msg = f"{target} is already there; use --force to overwrite it"
        raise ConfigError(msg)
    directory.mkdir(parents=True, exist_ok=True)
    text = files("flows.commands").joinpath("starter.yaml").read_text(encoding="utf-8")
    target.write_text(text, encoding="utf-8")
    typer.echo(f"Wrote {target}. Next: edit it, then `bids check {target}`.")


COMMAND = Command(init, place=10)
