"""`bids config`: what can be set, and what each field does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Final

import typer

from flows.commands.command import Command

if TYPE_CHECKING:
    from rich.console import Console

    from bids_core.config.reference import FieldReference

_DEFAULT_SHOWN: Final = 14


def config(
    key: Annotated[
        str | None,
        typer.Argument(
            metavar="[KEY]",
            help="A field or section, such as selection.budget or warmup. Without it: all fields.",
        ),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema, for editors.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show a configuration's fields: accepted values, defaults, what a change recomputes."""
    if schema:
        from bids_core.config.schema import schema_text

        typer.echo(schema_text(), nl=False)
        return
    from bids_core.config.reference import all_fields, find_field

    fields = all_fields() if key is None else find_field(key)
    if as_json:
        found = [field.to_dict() for field in fields]
        typer.echo(json.dumps(found if key is None else found[0] | {"fields": found[1:]}, indent=1))
        return
    from flows.console import output_console

    console = output_console()
    if key is not None:
        _show_field(console, fields[0])
        fields = fields[1:]
    _show_tree(console, fields)
    if key is None:
        console.print(
            "\n`bids config KEY` describes one field; `--set KEY=VALUE` sets it for one run.",
            markup=False,
        )


COMMAND = Command(config, place=45)


def _show_field(console: Console, field: FieldReference) -> None:
    from flows.console import table

    def say(text: str) -> None:
        console.print(text, markup=False)

    console.print(field.key, style="bold", markup=False)
    say(field.description)
    say("")
    say(f"takes:    {field.value}")
    if field.is_section:
        return
    default = "none: it is required" if field.required else _yaml(field.default)
    say(f"default:  {default}")
    say(f"a change recomputes:  {field.changes}")
    key = field.key.replace("[]", ".0")
    say(f"set it:   --set {key}=VALUE, or in the YAML file")
    if field.choices:
        say("")
        rows = [[name, words or None] for name, words in field.choices.items()]
        if not any(field.choices.values()):
            say(f"choices:  {', '.join(field.choices)}")
            return
        console.print(table("Choices", ["name", "what it is"], rows))


def _show_tree(console: Console, fields: list[FieldReference]) -> None:
    """Print one line per field, indented by section, cut to the width of the terminal."""
    lines = []
    for field in fields:
        above, _, name = field.key.rpartition(".")
        indent = "  " * (above.count(".") + 1 if above else 0)
        shown = "" if field.is_section else "required" if field.required else _yaml(field.default)
        shown = shown if len(shown) <= _DEFAULT_SHOWN else shown[: _DEFAULT_SHOWN - 1] + "…"
        lines.append((indent + name, shown, field))
    wide = max((len(name) for name, _, _ in lines), default=0)
    for name, shown, field in lines:
        text = f"{name:<{wide}}  {shown:<{_DEFAULT_SHOWN}}  {field.first_sentence}"
        console.print(
            text if not console.is_terminal else text[: console.width],
            style="bold" if field.is_section else "",
            markup=False,
        )


def _yaml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
