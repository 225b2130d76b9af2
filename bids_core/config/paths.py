"""Paths in a configuration: relative to a file's folder when read, absolute when used.

In a run folder they are stored relative to that folder, so that it can be moved.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bids_core.own_code import own_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Change = Callable[[str], str]

_PLACES: Final = ("store", "output_dir")
"""Where results go: relative to the current folder, except in a run folder's own configuration."""


def absolute_paths(content: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Make relative paths of data, models, templates and own code absolute.

    Args:
        content: a configuration as read; need not be valid.
        base: folder that its paths are relative to.
    """

    def is_folder(path: str) -> bool:
        return path.startswith(".") or (base / path / "config.json").is_file()

    return _changed(content, lambda path: os.path.normpath(base / path), is_folder)


def absolute_places(content: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Make the paths where results go absolute."""
    return {**_with(content, _PLACES, lambda path: os.path.normpath(base / path))}


def relative_paths(content: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Make all local paths relative to a folder, including the paths where results go.

    Paths with `${VARIABLES}` or `~`, and URLs, stay as written.

    Args:
        content: a valid configuration as JSON values, its data paths absolute.
        base: the folder.
    """

    def relative(path: str) -> str:
        return relative_path(path, base)

    def is_folder(path: str) -> bool:
        return Path(path).is_absolute()

    changed = _changed(content, relative, is_folder, of_absolute=True)
    return {**_with(changed, _PLACES, relative)}


def relative_path(path: str, base: Path) -> str:
    """Return a local path relative to a folder; URLs and `~` stay as they are."""
    if _elsewhere(path):
        return path
    return Path(os.path.relpath(Path(path).absolute(), base.absolute())).as_posix()


def _elsewhere(path: str) -> bool:
    return path.startswith(("hf:", "~", "$")) or "://" in path


def _changed(
    content: Mapping[str, Any],
    change: Change,
    is_folder: Callable[[str], bool],
    *,
    of_absolute: bool = False,
) -> dict[str, Any]:
    """Apply a change to all absolute local paths, or to all relative ones."""

    def changed(path: str) -> str:
        local = not _elsewhere(path) and Path(path).is_absolute() == of_absolute
        return change(path) if local else path

    def changed_code(name: str) -> str:
        return name if own_file(name) is None else changed(name)

    def changed_model(model: Any) -> Any:
        if not isinstance(model, dict):
            return model
        path = model.get("path")
        local = isinstance(path, str) and is_folder(path)
        return _with(model, ("path", "chat_template") if local else ("chat_template",), changed)

    result = dict(content)
    for section in ("pool", "validation", "test"):
        if isinstance(result.get(section), list):
            result[section] = [_with(row, ("path",), changed) for row in result[section]]
    if isinstance(result.get("test"), list):
        result["test"] = [_with(row, ("scorer",), changed_code) for row in result["test"]]
    if isinstance(result.get("selection"), dict):
        result["selection"] = _with_methods(result["selection"], changed_code)
    if "evaluation" in result:
        result["evaluation"] = _with(result["evaluation"], ("suite_data",), changed)
    warmup = result.get("warmup")
    if isinstance(warmup, dict) and warmup.get("checkpoints"):
        folders = warmup["checkpoints"]
        folders = [folders] if isinstance(folders, str) else list(folders)
        result["warmup"] = warmup | {"checkpoints": [changed(str(one)) for one in folders]}
    if "model" in result:
        result["model"] = changed_model(result["model"])
    finetune = result.get("finetune")
    if isinstance(finetune, dict) and "model" in finetune:
        result["finetune"] = finetune | {"model": changed_model(finetune["model"])}
    return result


def _with_methods(section: dict[str, Any], change: Change) -> dict[str, Any]:
    result: dict[str, Any] = _with(section, ("method",), change)
    if isinstance(section.get("compare"), list):
        result["compare"] = [
            change(method) if isinstance(method, str) else method for method in section["compare"]
        ]
    return result


def _with(section: Any, keys: tuple[str, ...], change: Change) -> Any:
    """Return a section with the texts at some keys changed."""
    if not isinstance(section, dict):
        return section
    texts = {key: section[key] for key in keys if isinstance(section.get(key), str)}
    return section | {key: change(text) for key, text in texts.items()}
