"""The `mapping` of a source: field names, dotted paths and Jinja templates that select from a row.

A value with `{{` or `{%` is a Jinja template, rendered in a sandbox that counts its steps
(`bids_core.data.templates`): it sees the row's fields, and `row` for fields whose names are not
identifiers. Anything else is a field name or, if the row has no such field, a dotted path
(`instances.0.output`). `_file` (the file's stem) and `_line` can be used like fields. Only `weight`
names a field of the turns instead of the row: the turn's weight in the loss.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from jinja2 import StrictUndefined, TemplateError, UndefinedError
from jinja2.exceptions import SecurityError

from bids_core.data.costly import too_costly
from bids_core.data.rejects import RejectedRow, shorten
from bids_core.data.templates import (
    NOT_COMPILED,
    STEPS,
    BoundedEnvironment,
    TooManySteps,
    at_most,
)  # fmt: skip
from bids_core.errors import ConfigError
from bids_core.formatting import brief

if TYPE_CHECKING:
    from jinja2 import Template

Getter = Callable[[Mapping[str, Any]], Any]

KEYS: Final = (
    "messages", "prompt", "completion", "system", "tools", "id", "subtask", "choices", "weight",
)  # fmt: skip
TURN_KEYS: Final = ("weight",)
"""Keys that name a field of a turn."""
# What a template can raise on plain data; anything else is a bug of ours and is not caught.
_ROW_ERRORS: Final = (
    TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError,
    RecursionError,
)  # fmt: skip


def compile_mapping(
    mapping: Mapping[str, str], *, where: str, steps: int = STEPS
) -> dict[str, Getter]:
    """Return, for each key of a mapping, a function from a row to the value.

    The functions raise `RejectedRow` if the row lacks the field, or a template takes too many steps
    on it.

    Args:
        mapping: key -> field name, dotted path or template.
        where: what the mapping belongs to, for messages.
        steps: limit for a template on one row (`data.template_steps`).

    Raises:
        ConfigError: a key is unknown, keys conflict, or a template does not parse.
    """
    unknown = sorted(set(mapping) - set(KEYS))
    if unknown:
        msg = f"{where}: mapping has no key {unknown[0]!r}; the keys are {', '.join(KEYS)}"
        raise ConfigError(msg)
    if "completion" in mapping and "prompt" not in mapping:
        msg = f"{where}: mapping has `completion` but no `prompt`; add it"
        raise ConfigError(msg)
    if "messages" in mapping and "prompt" in mapping:
        msg = f"{where}: mapping has both `messages` and `prompt`; keep one"
        raise ConfigError(msg)
    return {
        key: _compile(spec, f"{where}: mapping.{key}", steps)
        for key, spec in mapping.items()
        if key not in TURN_KEYS
    }


def plain_fields(mapping: Mapping[str, str]) -> set[str]:
    """Return the fields of a row that a mapping names; the rest are extra columns."""
    specs = [spec for key, spec in mapping.items() if key not in TURN_KEYS]
    named = {spec for spec in specs if "{{" not in spec and "{%" not in spec}
    return named | {spec.split(".")[0] for spec in named}


def as_list(value: object) -> list[Any]:
    """Return a list, parsing JSON text (from a template or a CSV file) if necessary.

    Raises:
        RejectedRow: it is neither.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise RejectedRow("bad-choices", f"the choices are not valid JSON ({error})") from None
    if not isinstance(value, list):
        detail = f"the choices are {shorten(value)}; give a list, or a template with `| tojson`"
        raise RejectedRow("bad-choices", detail)
    return value


def _compile(spec: str, where: str, steps: int) -> Getter:
    if not spec.strip():
        msg = f"{where} is blank; give a field name, a dotted path or a Jinja template"
        raise ConfigError(msg)
    if "{{" not in spec and "{%" not in spec:
        return lambda row: _walk(row, spec)
    environment = BoundedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    try:
        template = environment.from_string(spec)
    except NOT_COMPILED as error:
        reason = shorten(str(error) or type(error).__name__, 200).strip("'\"")
        msg = f"{where}: the template {shorten(spec)} is invalid ({reason})"
        raise ConfigError(msg) from None
    return lambda row: _render(template, row, where, steps)


def _walk(row: Mapping[str, Any], path: str) -> Any:
    if path in row:
        return row[path]
    value: Any = row
    for part in path.split("."):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (LookupError, ValueError, TypeError):
            fields = shorten(", ".join(map(str, row)), 80).strip("'")
            detail = f"the row has no field {path!r}, which the mapping names (fields: {fields})"
            raise RejectedRow("missing-field", detail) from None
    return value


def _render(template: Template, row: Mapping[str, Any], where: str, steps: int) -> str:
    try:
        with at_most(steps):
            return template.render({"row": row, **row})
    except TooManySteps as error:
        raise too_costly(where, error.message) from None
    except UndefinedError as error:
        raise RejectedRow("missing-field", f"{where}: {error.message}") from None
    except SecurityError as error:
        msg = f"{where}: the template does something the sandbox forbids ({error.message})"
        raise ConfigError(msg) from None
    except _ROW_ERRORS as error:
        detail = f"{where}: {type(error).__name__}: {brief(str(error))}"
        raise RejectedRow("mapping-failed", detail) from None
