"""Write the references from the code: `python docs/write_references.py`.

docs/cli.md from the program's commands, docs/config.md and docs/bids.schema.json from the
configuration's model. A test holds that none is stale.
"""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

import typer
from pydantic import TypeAdapter

from bids_core.config import RunConfig, Section
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

Every field of `bids.yaml`. `bids init` writes a commented starter, `bids check` checks yours
without running it, `--set section.field=value` changes a field for one run. Unknown keys are
refused, with the nearest known one. [identity.md](identity.md) says what is computed again when a
field changes.

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
    lead = (RunConfig.__doc__ or "").split("\n\n")[0]
    return _CONFIG_HEAD + "\n".join(_section("", RunConfig, lead, shown={}))


def _section(
    path: str, model: type[Section], what: str, *, shown: dict[type[Section], str]
) -> Iterator[str]:
    """Yield a section's table and those of the sections in it; what was shown is named alone."""
    yield f"## {f'`{path}`' if path else 'At the top'}\n"
    yield _paragraphs(what) + "\n"
    fields = dict(model.model_fields)
    known = next((base for base in model.__mro__ if base in shown), None)
    if known is not None:
        more = ", and" if known is not model else ""
        yield f"The fields of [`{shown[known]}`](#{_anchor(shown[known])}){more or '.'}\n"
        fields = {name: field for name, field in fields.items() if name not in known.model_fields}
    shown[model] = path
    inner = {name: _model_of(field.annotation) for name, field in fields.items()}
    properties = TypeAdapter(model).json_schema()["properties"]
    rows = [
        [
            f"`{name}`",
            _words(properties[name]),
            "required" if f.is_required() else _yaml(f.get_default(call_default_factory=True)),
            _cell(f.description or ""),
        ]
        for name, f in fields.items()
        if inner[name] is None
    ]
    if rows:
        yield _table(["field", "value", "default", "what it does"], rows)
    for name, section in inner.items():
        if section is not None:
            listed = get_origin(fields[name].annotation) is tuple
            below = (f"{path}.{name}" if path else name) + "[]" * listed
            description = fields[name].description or section.__doc__ or ""
            yield from _section(below, section, description, shown=shown)


def _anchor(path: str) -> str:
    """Return the anchor that a heading gets, on a code host as on the site."""
    return "".join(letter for letter in path.lower() if letter.isalnum() or letter in "-_")


def _model_of(annotation: Any) -> type[Section] | None:
    """Return the section that a field holds (or may hold, or lists)."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    if isinstance(annotation, types.UnionType) or get_origin(annotation) is not None:
        found = [_model_of(part) for part in get_args(annotation)]
        return next((one for one in found if one is not None), None)
    return None


def _words(schema: dict[str, Any]) -> str:
    """Return what a field takes, from its JSON schema."""
    if "anyOf" in schema:
        parts = [part for part in schema["anyOf"] if part.get("type") != "null"]
        return " or ".join(dict.fromkeys(_words(part) for part in parts))
    if "enum" in schema:
        names = [f"`{name}`" for name in schema["enum"]]
        return ", ".join(names) if len(names) <= 8 else f"a name: {', '.join(names)}"
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type", "any value")
    if kind == "array":
        return f"list of {_words(schema['items'])}" if "items" in schema else "list"
    if kind == "object":
        return "mapping"
    names = {"string": "text", "boolean": "true or false"}
    return names.get(kind, kind) + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {_number(schema[key])}" for key, sign in signs.items() if key in schema]
    return f" ({', '.join(limits)})" if limits else ""


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


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
