"""Finds the file of a configuration, given the file, its folder or a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from bids_core.config.paths import absolute_places
from bids_core.config.section import Name
from bids_core.errors import ConfigError

FORMAT: Final = 2
"""Format of manifests: in 2, paths are relative to the manifest's folder."""
MANIFEST: Final = "manifest.json"
"""The record of a run in its folder; its `config` is the whole configuration."""
CONFIG: Final = "config.yaml"
"""The configuration in a run's folder."""
_USUAL: Final = (CONFIG, "bids.yaml", MANIFEST)
_YAML: Final = (".yaml", ".yml")


def find_config(path: Path) -> Path:
    """Return the file that holds a configuration.

    Args:
        path: the file, or a folder with a `config.yaml`, a `bids.yaml`, a run's manifest, or a
            single YAML file.

    Raises:
        ConfigError: there is no such file, or several and no way to choose.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        msg = f"{path}: no such file; `bids init` writes a starter configuration"
        raise ConfigError(msg)
    for name in _USUAL:
        if (path / name).is_file():
            return path / name
    found = sorted(file for file in path.iterdir() if file.suffix in _YAML and file.is_file())
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.name for file in found)
        msg = f"{path} is a folder with several YAML files ({names}); name one of them"
    else:
        msg = f"{path} is a folder without a YAML file; `bids init {path}` writes a starter"
    raise ConfigError(msg)


def replayed(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration for running again into the run folder that a file is in.

    Args:
        path: a configuration, or a run's manifest.
        content: what it holds; returned unchanged if the file is not in a run folder.

    Raises:
        ConfigError: the folder's name is not a valid run name.
    """
    folder = path.resolve().parent
    if path.name == MANIFEST:
        if not isinstance(content.get("config"), dict):
            msg = (
                f"{path}: not a run's manifest, because it has no `config`; give the "
                "manifest.json of a run folder"
            )
            raise ConfigError(msg)
        content = travelled(content, folder)
    elif path.name == CONFIG and (folder / MANIFEST).is_file():
        content = absolute_places(content, folder)
    else:
        return content
    try:
        name = TypeAdapter(Name).validate_python(folder.name)
    except ValidationError as error:
        msg = (
            f"{path}: its folder {folder.name!r} is not a valid run name (use letters, "
            "digits, '.', '_' and '-'); rename the folder"
        )
        raise ConfigError(msg) from error
    return content | {"name": name}


def travelled(manifest: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the configuration in a run's manifest, with the places of its results made absolute.

    Manifests without `format` come from earlier versions: their store is relative to the folder in
    which the run was started.
    """
    if "format" in manifest:
        return absolute_places(manifest["config"], folder)
    return {**manifest["config"], "output_dir": str(folder.parent)}
