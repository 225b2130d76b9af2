"""Write the references from the code: `python docs/write_references.py`.

docs/cli.md from the program's commands, docs/config.md and docs/bids.schema.json from the
configuration's model. A test holds that none is stale.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bids_core.config.reference import FieldReference, all_fields
from bids_core.config.schema import schema_text
from flows.cli import app
from flows.commands.late_help import LateHelp, method_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DOCS = Path(__file__).parent
_CLI_HEAD = """\
# The command line

Every command of `bids`, with its arguments and options, as `bids COMMAND --help` shows them. Exit
status: 0 for success; 2 for a mistake that you can fix, in one line that says what, where and how;
1 for everything else. `--json` prints one JSON object on standard output, and nothing else there.

"""
_CONFIG_HEAD = """\
# The configuration

Every field of `bids.yaml`. `bids config KEY` prints one of them, `bids init` writes a file that
runs, `bids check` checks yours without running it, `--set section.field=value` changes a field for
one run. Unknown keys are refused, with the nearest known one. [identity.md](identity.md) says what
is computed again when a field changes.

`bids config KEY` shows a field in the terminal: what it takes, its default, its choices, and what a
change recomputes. For completion and checks while you type, editors can use the JSON schema:
`bids init` writes [bids.schema.json](bids.schema.json) beside `bids.yaml` and names it in the first
line (`bids config --schema` prints it), which is all that the YAML extension of VS Code needs:

```yaml
# yaml-language-server: $schema=bids.schema.json
```

"""


def cli_page() -> str:
    """Return the reference of the command line."""
    program = typer.main.get_command(app)
    return _CLI_HEAD + "\n".join(_command("bids", program))


def _command(path: str, command: Any) -> Iterator[str]:
    context = command.context_class(command, info_name=path)
    if path != "bids":
        yield f"## `{path}`\n"
        yield f"```\n{command.get_usage(context).removeprefix('Usage: ')}\n```\n"
        yield _paragraphs(command.help or "") + "\n"
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    if path == "bids":
        options = [o for o in options if o.name not in ("install_completion", "show_completion")]
    if arguments:
        yield _table(
            ["argument", "what it is"],
            [[f"`{p.metavar or p.name.upper()}`", _help(p, command)] for p in arguments],
        )
    if options:
        yield _table(
            ["option", "default", "what it does"],
            [[_names(p), _default(p), _help(p, command)] for p in options],
        )
    for name, inner in getattr(command, "commands", {}).items():
        yield from _command(f"{path} {name}", inner)


def _names(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    kind = {int: "NUMBER", float: "NUMBER", Path: "PATH"}.get(option.bare_type, "TEXT")
    return names if option.is_flag else f"{names} `{option.metavar or kind}`"


def _help(parameter: Any, command: Any) -> str:
    text = parameter.help or ""
    if isinstance(command, LateHelp):
        from bids_core.normalization import NORMALIZATIONS

        text = text.replace("{methods}", method_words())
        text = text.replace("{normalizations}", ", ".join(NORMALIZATIONS))
    return _cell(text)


def _default(option: Any) -> str:
    value = option.default
    if option.required:
        return "required"
    return "" if value in (None, False, [], ()) else f"`{value}`"


def config_page() -> str:
    """Return the reference of the configuration."""
    return _CONFIG_HEAD + "\n".join(_sections())


def _sections() -> Iterator[str]:
    """Yield the table of each section; fields that an earlier one has too are named by that one."""
    fields = all_fields()
    within: dict[str, list[FieldReference]] = {"": []}
    for field in fields:
        if field.is_section:
            within[field.key] = []
        else:
            within[field.key.rpartition(".")[0]].append(field)
    described = {field.key: field.description for field in fields}
    shown: dict[str, set[tuple[str, str]]] = {}
    for key, own in within.items():
        names = {(_name(field), field.description) for field in own}
        same = next((k for k, known in shown.items() if len(known) > 1 and known <= names), None)
        if same is not None and same.rpartition(".")[2] == key.rpartition(".")[2] == "limits":
            continue  # it belongs to a section whose fields are named by that of another
        shown[key] = names
        yield f"## {f'`{key}`' if key else 'At the top'}\n"
        yield (
            described.get(key, "A whole run: data, model, method and where the results go.") + "\n"
        )
        rest = [
            field
            for field in own
            if (_name(field), field.description) not in (shown[same] if same else ())
        ]
        if same is not None:
            yield f"The fields of [`{same}`](#{_anchor(same)}){', and' if rest else '.'}\n"
        if rest:
            yield _table(["field", "value", "default", "what it does"], map(_row, rest))


def _name(field: FieldReference) -> str:
    return field.key.rpartition(".")[2]


def _row(field: FieldReference) -> list[str]:
    choices = ", ".join(f"`{name}`" for name in field.choices)
    value = field.value.removesuffix(" or null")
    value = value.replace("one of the choices", choices).replace("the choices", choices)
    default = "required" if field.required else _yaml(field.default)
    return [f"`{_name(field)}`", value, default, _cell(field.description)]


def _anchor(path: str) -> str:
    """Return the anchor that a heading gets, on a code host as on the site."""
    return "".join(letter for letter in path.lower() if letter.isalnum() or letter in "-_")


def _yaml(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Path):
        value = str(value)
    return f"`{json.dumps(value)}`" if not isinstance(value, str) else f"`{value}`"


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("docs/", "")


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


PAGES = {"cli.md": cli_page, "config.md": config_page, "bids.schema.json": schema_text}


if __name__ == "__main__":
    for name, write in PAGES.items():
        (DOCS / name).write_text(write(), encoding="utf-8")
