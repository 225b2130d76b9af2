"""The reference entry of each field: accepted values, default, choices, and effects."""

from __future__ import annotations

import difflib
import re
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import TypeAdapter

from bids_core.config.effects import Effect
from bids_core.config.effects_table import changes_in_words
from bids_core.config.nearest import nearest_fields
from bids_core.config.run import RunConfig
from bids_core.config.section import Section
from bids_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo


@dataclass(frozen=True, slots=True)
class FieldReference:
    """A field, or a section.

    Args:
        key: dotted path; `pool[]` is a list of sections.
        value: accepted values, in words; `section` for a section.
        required: whether it must be given.
        default: as a JSON value; None also if there is none.
        description: what it means.
        choices: each accepted name with its description (may be blank); empty if the field does not
            take names.
        changes: what is recomputed when it changes; blank for most sections.
    """

    key: str
    value: str
    required: bool
    default: Any
    description: str
    choices: Mapping[str, str]
    changes: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-serialisable values."""
        return asdict(self)

    @property
    def is_section(self) -> bool:
        """Whether it has fields of its own."""
        return self.value in ("section", "list of sections")

    @property
    def first_sentence(self) -> str:
        """The first clause of the description."""
        clause = re.split(r"[.:;]\s", self.description, maxsplit=1)[0]
        if clause.count("(") > clause.count(")"):
            clause = re.split(r"\.\s", self.description, maxsplit=1)[0]
        return clause.rstrip(".:;")


def all_fields() -> list[FieldReference]:
    """Return every section and field, each section before its fields, in file order."""
    return list(_fields(RunConfig, ""))


def find_field(key: str) -> list[FieldReference]:
    """Return a field, or a section and everything in it.

    Args:
        key: dotted path, with or without list indices (`pool.0.path`, `pool[].path`); the last name
            alone is enough if it is unique.

    Raises:
        ConfigError: there is none, or several; the message gives the nearest.
    """
    wanted = _plain(key)
    fields = all_fields()
    found = [one for one in fields if _plain(one.key) == wanted]
    if found:
        return found + [one for one in fields if _plain(one.key).startswith(f"{wanted}.")]
    same = [one for one in fields if _plain(one.key).endswith(f".{wanted}")]
    if len(same) == 1:
        return find_field(same[0].key)
    if same:
        names = ", ".join(one.key for one in same)
        msg = f"{key}: several fields have that name; give one of {names}"
    else:
        msg = f"{key}: the configuration has no such field; {_hint(wanted, fields)}"
    raise ConfigError(msg)


def _hint(wanted: str, fields: list[FieldReference]) -> str:
    """Suggest what was meant: the nearest field or section, or the section's fields."""
    keys = [_plain(one.key) for one in fields]
    above, _, last = wanted.rpartition(".")
    inside = [
        name.rpartition(".")[2] for name in keys if above and name.rpartition(".")[0] == above
    ]
    if inside:
        close = [f"{above}.{name}" for name in difflib.get_close_matches(last, inside, n=1)]
    else:
        close = difflib.get_close_matches(wanted, keys, n=1, cutoff=0.8) or nearest_fields(wanted)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"{above} has {', '.join(inside)}" if inside else "`bids config` lists all"


def _plain(key: str) -> str:
    return re.sub(r"\[\d*\]|\.\d+(?=\.|$)", "", key)


def _fields(model: type[Section], prefix: str) -> Iterator[FieldReference]:
    properties = TypeAdapter(model).json_schema()["properties"]
    for name, info in model.model_fields.items():
        section = _section_of(info.annotation)
        listed = section is not None and get_origin(info.annotation) is tuple
        key = f"{prefix}{name}{'[]' if listed else ''}"
        described = info.description or (section.__doc__ if section is not None else "") or ""
        yield FieldReference(
            key=key,
            value="list of sections" if listed
            else "section" if section is not None
            else value_words(properties[name]),
            required=info.is_required(),
            default=None if section is not None else _default(info),
            description=" ".join(described.split()),
            choices={} if section is not None else _choices(properties[name], info),
            changes=changes_in_words(key.replace("[]", ""), model, name)
            if section is None or any(isinstance(item, Effect) for item in info.metadata)
            else "",
        )  # fmt: skip
        if section is not None:
            yield from _fields(section, f"{key}.")


def _section_of(annotation: Any) -> type[Section] | None:
    """Return the section type of a field that holds one, optionally or in a list."""
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, Section) else None
    found = [_section_of(part) for part in get_args(annotation)]
    return next((one for one in found if one is not None), None)


def _default(info: FieldInfo) -> Any:
    if info.is_required():
        return None
    value = info.get_default(call_default_factory=True)
    if isinstance(value, PurePath):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _choices(schema: dict[str, Any], info: FieldInfo) -> dict[str, str]:
    """Return the names that a field accepts, each with its meaning."""
    parts = [schema, *schema.get("anyOf", ())]
    parts += [part["items"] for part in parts if "items" in part]
    names: list[str] = next((part["enum"] for part in parts if "enum" in part), [])
    if not names:
        return {}
    words = dict.fromkeys(names, "")
    for item in (*info.metadata, *_metadata(info.annotation)):
        table = getattr(item, "entries", None)
        if table is not None:
            words |= {n: str(getattr(table[n], "what", "")) for n in names if n in table}
    return words


def _metadata(annotation: Any) -> list[Any]:
    """Return the metadata of types nested in an annotation (a list of methods)."""
    found = list(getattr(annotation, "__metadata__", ()))
    for part in get_args(annotation):
        found += _metadata(part)
    return found


def value_words(schema: Mapping[str, Any]) -> str:
    """Return a field's accepted values in words, from its JSON schema."""
    if "anyOf" in schema:
        kinds = dict.fromkeys(value_words(part) for part in schema["anyOf"])
        return " or ".join(kinds)
    if "enum" in schema:
        return "one of the choices"
    if "const" in schema:
        return repr(schema["const"])
    kind = str(schema.get("type", "any value"))
    if kind == "array":
        items = schema.get("items", {})
        if "enum" in items:
            return "a list of the choices"
        if items.get("pattern", "").endswith(r":\w+)$"):
            return "a list with functions of your own"
        return f"a list of {value_words(items)}" if items else "a list"
    if "%" in schema.get("pattern", ""):
        return "percentage (15%)"
    if schema.get("pattern", "").endswith(r":\w+$"):
        return "a function of your own"
    names = {
        "string": "text", "boolean": "true or false", "number": "number", "integer": "whole number",
        "null": "null", "object": "mapping",
    }  # fmt: skip
    return names.get(kind, kind) + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    signs = {
        "minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most",
        "exclusiveMaximum": "below",
    }  # fmt: skip
    limits = [f"{sign} {_number(schema[key])}" for key, sign in signs.items() if key in schema]
    return f" ({', '.join(limits)})" if limits else ""


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
