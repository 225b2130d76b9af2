"""The folder an option (`--out`) writes to: if it does not exist, the user is asked or refused."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pathlib import Path


def require_folder(out: Path, *, option: str = "--out") -> None:
    """Check, before anything is computed, that the folder of a path exists.

    On a terminal it is created if the user agrees.

    Raises:
        UserError: it does not exist.
    """
    from bids_core.errors import UserError

    folder = out.parent
    if folder.is_dir():
        return
    if folder.exists():
        msg = f"{option} {out}: {folder} is a file, not a folder"
        raise UserError(msg)
    if on_terminal() and typer.confirm(f"The folder {folder} does not exist. Make it?", err=True):
        folder.mkdir(parents=True)
        return
    msg = (
        f"{option} {out}: the folder {folder} does not exist; make it first (mkdir -p "
        f"{shlex.quote(str(folder))}), or name another one"
    )
    raise UserError(msg)


def on_terminal() -> bool:
    """Return whether there is a user to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()
