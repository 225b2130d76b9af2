"""Untrusted YAML to plain values: no objects, no alias bombs, and one kind of error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST: Final = 1 << 22
_BYTES_PER_CHARACTER: Final = 4  # of UTF-8, at most
_MOST_PARTS: Final = 1 << 20
"""Most parts of a document with every alias expanded; nine lines can expand to a billion."""
_WRONG: Final = (
    yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, OverflowError,
    RecursionError,
)  # fmt: skip


class YamlError(Exception):
    """A text is not YAML, or uses features not allowed here; the message is one line."""


def read_yaml_text(path: Path, *, encoding: str = "utf-8") -> str:
    """Return the text of a YAML file, which is never read further than the longest may be.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is not in the encoding.
        YamlError: it is too long.
    """
    with path.open("rb") as file:
        content = file.read(_LONGEST * _BYTES_PER_CHARACTER + 1)
    if len(content) > _LONGEST * _BYTES_PER_CHARACTER:
        raise _too_long()
    return content.decode(encoding)


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text: mappings, lists, texts, numbers, dates.

    Aliases are expanded, so changing one section changes no other.

    Args:
        text: the document.

    Raises:
        YamlError: it is not YAML, has object tags, refers to itself, or is too large.
    """
    if len(text) > _LONGEST:
        raise _too_long()
    try:
        value = yaml.safe_load(text)
    except _WRONG as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error) or type(error).__name__
        msg = f"{where}not valid YAML: {' '.join(str(problem).split())[:300]}"
        raise YamlError(msg) from error
    _require_small(value)
    return _written_out(value)


def _too_long() -> YamlError:
    return YamlError(f"longer than {_LONGEST:,} characters")


def _require_small(value: Any) -> None:
    """Count all parts with aliases expanded, so that whatever reads the value terminates."""
    count, todo = 0, [value]
    while todo:
        item = todo.pop()
        count += 1
        if count > _MOST_PARTS:
            msg = f"its aliases come to more than {_MOST_PARTS:,} values, or refer to themselves"
            raise YamlError(msg)
        if isinstance(item, dict):
            todo += item
            todo += item.values()
        elif isinstance(item, list | tuple | set):
            todo += item


def _written_out(value: Any) -> Any:
    """Return a copy in which no two places share a mapping or a list."""
    if isinstance(value, dict):
        return {key: _written_out(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_written_out(item) for item in value]
    return value
