"""A configuration file with some values changed: its comments stay, its paths still lead there."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import yaml

from bids_core.config.find import MANIFEST, find_config, replayed
from bids_core.config.load import apply_override, read_yaml
from bids_core.config.paths import absolute_paths, relative_paths
from bids_core.config.yaml_text import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_PLACES = ("store", "output_dir")


def rewritten(
    path: Path, target: Path, *, changes: Mapping[str, Any], overrides: Sequence[str] = ()
) -> str:
    """Return the text of a configuration file with some values changed.

    Comments and order are kept where the file allows it (not those of a run's manifest, nor where
    a changed section is an alias of another).

    Args:
        path: the file, or what `find_config` finds it by.
        target: where the text will lie; relative paths of data and models start from its folder.
        changes: by dotted key; None takes the key out.
        overrides: `section.key=value` texts, applied before.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = find_config(path)
    base, folder = path.resolve().parent, target.resolve().parent
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
    text = _with_comments(path.read_text(encoding="utf-8"), content)
    return text if parse_yaml(text) == parse_yaml(plain) else plain


def put(content: dict[str, Any], key: str, value: Any) -> None:
    """Set a value in nested mappings by its dotted key; None takes it out.

    Sections that are missing are made.
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


def _with_comments(text: str, content: Mapping[str, Any]) -> str:
    from ruamel.yaml import YAML

    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 1 << 16
    document = editor.load(text)
    _take(document, content)
    out = io.StringIO()
    editor.dump(document, out)
    return out.getvalue()


def _take(document: Any, content: Mapping[str, Any]) -> None:
    """Make a document hold what a mapping holds, leaving alone what it holds already."""
    for key in [key for key in document if key not in content]:
        del document[key]
    for key, value in content.items():
        there = document.get(key)
        if isinstance(value, dict) and isinstance(there, dict):
            _take(there, value)
        elif (
            isinstance(value, list)
            and isinstance(there, list)
            and len(there) == len(value)
            and all(isinstance(one, dict) for one in [*there, *value])
        ):
            for mine, wanted in zip(there, value, strict=True):
                _take(mine, wanted)
        elif key not in document or there != value:
            document[key] = value
