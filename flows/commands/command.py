"""The commands of `bids`: their type, and the list of them.

A command is a module of this package with a `COMMAND`; adding one needs no other change.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from collections.abc import Callable


ANY_ROW: Final = {"ignore_unknown_options": True}
"""Settings of a command that takes a row id, which may begin with a dash."""

ConfigArgument = Annotated[
    Path,
    typer.Argument(metavar="CONFIG", help="Configuration file (YAML), or its folder."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a value, as in selection.budget=0.1; may be repeated. `bids config` lists "
        "the keys.",
    ),
]


@dataclass(frozen=True, slots=True)
class Command:
    """A command, or a group of them.

    Args:
        run: the function, with the command's name; or an app with further commands.
        place: commands are listed in the order of this number.
        name: of a group; a function has its own.
        options: further arguments of Typer's `command` (`cls`, `context_settings`).
    """

    run: Callable[..., None] | typer.Typer
    place: int
    name: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def add_to(self, app: typer.Typer) -> None:
        """Add it to an app."""
        if isinstance(self.run, typer.Typer):
            for command in self.run.registered_commands:
                command.help = _help(command.callback)
            app.add_typer(self.run, name=self.name)
        else:
            app.command(self.name, help=_help(self.run), **self.options)(self.run)


def _help(function: Any) -> str:
    """Return a docstring with one line per paragraph: the terminal wraps them."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.getdoc(function) or "")


def commands() -> list[Command]:
    """Return all commands, in display order."""
    import flows.commands as room

    names = [module.name for module in pkgutil.iter_modules(room.__path__)]
    modules = [importlib.import_module(f"{room.__name__}.{name}") for name in names]
    found: list[Command] = [module.COMMAND for module in modules if hasattr(module, "COMMAND")]
    return sorted(found, key=lambda command: command.place)
