"""Changes values in a configuration file; comments are kept, and paths stay valid."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, Final

import yaml

from bids_core.config.find import MANIFEST, find_config, replayed
from bids_core.config.load import apply_override, read_yaml
from bids_core.config.paths import absolute_paths, relative_paths
from bids_core.config.yaml_text import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_PLACES: Final = ("store", "output_dir")
_INDENTED_LIST: Final = re.compile(
    r"^\w[^\n]*:[ \t]*(?:#[^\n]*)?\n(?:[ \t]*#[^\n]*\n)*  - ", re.MULTILINE
)
"""A list whose dashes are indented by two columns."""


def rewritten(
    path: Path, target: Path, *, changes: Mapping[str, Any], overrides: Sequence[str] = ()
) -> str:
    """Return the text of a configuration file with some values changed.

    Comments and order are kept if possible (not for a run's manifest, nor if a changed section is
    an alias of another).

    Args:
        path: the file, or any path from which `find_config` finds it.
        target: where the text will be written; relative paths of data and models start from its
            folder.
        changes: new values by dotted key; None removes the key.
        overrides: `section.key=value` texts, applied first.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = find_config(path)
    base, folder = path.resolve().parent, target.resolve().parent
    before = read_yaml(path)
    content = replayed(path, read_yaml(path))
    for override in overrides:
        apply_override(content, override)
    for key, value in changes.items():
        put(content, key, value)
    if folder != base:
        places = {name: content[name] for name in _PLACES if name in content}
        content = relative_paths(absolute_paths(content, base), folder) | places
    plain = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    if path.name == MANIFEST:
        return plain
    text = _with_comments(path.read_text(encoding="utf-8"), before, content)
    return text if parse_yaml(text) == parse_yaml(plain) else plain


def put(content: dict[str, Any], key: str, value: Any) -> None:
    """Set a value in nested mappings by its dotted key; None removes it.

    Missing sections are created.
    """
    *sections, last = key.split(".")
    for section in sections:
        inner = content.get(section)
        if not isinstance(inner, dict):
            if value is None:
                return
            inner = content[section] = {}
        content = inner
    if value is None:
        content.pop(last, None)
    else:
        content[last] = value


def _with_comments(text: str, before: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    from ruamel.yaml import YAML

    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 1 << 16
    if _INDENTED_LIST.search(text):
        editor.indent(mapping=2, sequence=4, offset=2)
    document = editor.load(text)
    _take(document, before, content)
    out = io.StringIO()
    editor.dump(document, out)
    return out.getvalue()


def _take(document: Any, before: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Update the parts of a document that differ between its old and new content."""
    for key in [key for key in before if key not in content]:
        del document[key]
    for key, value in content.items():
        old = before.get(key)
        if key in before and old == value:
            continue
        if isinstance(value, dict) and isinstance(old, dict):
            _take(document[key], old, value)
        elif isinstance(value, list) and isinstance(old, list) and _alike(old, value):
            for place, (was, wanted) in enumerate(zip(old, value, strict=True)):
                _take(document[key][place], was, wanted)
        else:
            document[key] = value


def _alike(old: list[Any], new: list[Any]) -> bool:
    """Return whether two lists hold the same number of sections, and nothing else."""
    return len(old) == len(new) and all(isinstance(item, dict) for item in [*old, *new])
