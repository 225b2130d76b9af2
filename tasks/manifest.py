"""`manifest.json` and `config.yaml` of a run folder: what ran, with paths relative to the folder.

So a folder that is moved together with its data and store keeps working, and none of its files
names a path of the machine that made it. Imports no Prefect, so that reading it is quick.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from bids_core.artifacts import read_small_json
from bids_core.config.find import CONFIG, FORMAT, MANIFEST, travelled
from bids_core.config.load import check_config
from bids_core.config.paths import (
    absolute_paths,
    relative_path,
    relative_paths,
)
from bids_core.errors import ConfigError
from bids_core.formatting import brief

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bids_core.config import RunConfig

_HANDLE: Final = {"store", "stage", "fingerprint"}
_BUCKETS: Final = frozenset({"s3", "gs", "gcs", "az", "abfs", "memory"})
"""Remote stores that a manifest may name: buckets, which need the user's credentials. Reading a run
folder from elsewhere must not call arbitrary addresses named in it."""
_HEAD: Final = """\
# The settings of this run: `bids run` on this file (or its folder) repeats it here, reusing what
# the store still has. Paths are relative to this file. Fields not listed have their defaults;
# manifest.json has every value.
"""


@dataclass(frozen=True)
class Manifest:
    """What a run folder records about its run.

    Args:
        path: of the manifest.
        settings: the configuration that ran, as JSON values with absolute paths; not validated.
        result: `RunResult` as dumped, with absolute paths.
    """

    path: Path
    settings: dict[str, Any]
    result: dict[str, Any]

    @property
    def config(self) -> RunConfig:
        """The configuration that ran.

        Raises:
            ConfigError: it is invalid in this version.
        """
        return check_config(self.settings, origin=str(self.path))


def write_manifest(
    folder: Path, config: RunConfig, result: Mapping[str, Any], facts: Mapping[str, Any]
) -> None:
    """Write `manifest.json` and `config.yaml`.

    Args:
        folder: of the run.
        config: as it ran.
        result: `RunResult` as dumped.
        facts: further facts to record.
    """
    content = {
        "format": FORMAT,
        "name": folder.name,
        "config": relative_paths(config.model_dump(mode="json"), folder),
        "result": relative_handles(dict(result), folder) | {"folder": "."},
        **facts,
    }
    own = relative_paths(config.model_dump(mode="json", exclude_defaults=True), folder)
    own |= relative_paths({"store": config.store, "output_dir": str(config.output_dir)}, folder)
    text = yaml.safe_dump(own, sort_keys=False, allow_unicode=True)
    replace_file(folder / CONFIG, _HEAD + text)
    replace_file(folder / MANIFEST, json.dumps(content, indent=1))


def read_manifest(folder: Path) -> Manifest:
    """Read a run folder's manifest.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        msg = f"{folder}: has no {MANIFEST}; give the folder of a run, such as {_example(folder)}"
        raise ConfigError(msg)
    try:
        content = dict(read_small_json(path))
        here = folder.resolve()
        config, result = travelled(content, here), dict(content["result"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path}: not a run's manifest ({type(error).__name__}: {brief(error)})"
        raise ConfigError(msg) from error
    return Manifest(
        path,
        absolute_paths(config, here),
        absolute_handles(result, here) | {"folder": str(here)},
    )


def _example(folder: Path) -> str:
    """Return the run that may have been meant: the one with the same name, or the newest here."""
    made = sorted(Path("runs").glob(f"*/{MANIFEST}"), key=lambda path: path.stat().st_mtime)
    names = {path.parent.name: path.parent for path in made}
    name = folder.parent.name if folder.suffix in (".yaml", ".yml") else folder.name
    return str(names.get(name) or next(reversed(names.values()), "runs/demo"))


def shown_config(config: RunConfig, folder: Path) -> RunConfig:
    """Return a configuration in the form shown on pages and cards: relative paths, models by name.

    Args:
        config: the run.
        folder: to which the paths are relative.
    """
    content = relative_paths(config.model_dump(mode="json"), folder)
    shown = type(config).model_validate(content)
    changes: dict[str, Any] = {"model": _named(config.model)}
    if config.finetune.model is not None:
        other = _named(config.finetune.model)
        changes["finetune"] = shown.finetune.model_copy(update={"model": other})
    return shown.model_copy(update=changes)


def _named(model: Any) -> Any:
    """Return a model section with only the name of its local folder."""
    local = os.path.isabs(model.path)
    template = None if model.chat_template is None else os.path.basename(model.chat_template)
    path = os.path.basename(model.path.rstrip("/")) if local else model.path
    return model.model_copy(update={"path": path, "chat_template": template})


def relative_handles(content: Any, folder: Path) -> Any:
    """Return JSON values with the stores of handles relative to a folder."""
    return _with_stores(content, lambda store: relative_path(store, folder))


def absolute_handles(content: Any, folder: Path) -> Any:
    """Return JSON values with the stores of handles absolute; relative ones are inside a folder."""

    def absolute(store: str) -> str:
        scheme, remote, _ = store.partition("://")
        if remote and ("::" in store or scheme not in _BUCKETS):
            msg = (
                f"{folder / MANIFEST} names the store {brief(store)}, but BIDS does not contact "
                "an address named in a file: copy its artifacts here, or run again"
            )
            raise ConfigError(msg)
        return store if remote else os.path.normpath(folder / store)

    return _with_stores(content, absolute)


def _with_stores(content: Any, change: Callable[[str], str]) -> Any:
    if isinstance(content, dict):
        if content.keys() == _HANDLE:
            return content | {"store": change(content["store"])}
        return {key: _with_stores(value, change) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_with_stores(value, change) for value in content]
    return content


def replace_file(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new one, never a part of it."""
    aside = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
