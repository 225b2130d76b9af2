"""Finds and names the sources of a run: what each reads, for which split and task."""

from __future__ import annotations

import glob
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bids_core.artifacts import file_digest
from bids_core.config import TestTask, ValidationTask
from bids_core.config.slices import sliced
from bids_core.data import axolotl, llamafactory
from bids_core.data.hub import open_dataset, read_dataset
from bids_core.data.locate import (
    HUB_PREFIX,
    InputFile,
    absolute,
    expand,
    find_files,
    fixed_part,
    is_dataset_folder,
    split_suffix,
)  # fmt: skip
from bids_core.data.reading import RawRow, read_rows
from bids_core.errors import ConfigError
from bids_core.formatting import brief

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bids_core.config import RunConfig, SourceConfig
    from bids_core.data.layout import Layout
    from bids_core.data.recipe import Described

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Source:
    """One entry of `pool`, `validation` or `test`, resolved on this machine.

    Args:
        split: the split of its rows.
        name: the source's name; by default the task's name.
        where: its name in messages.
        config: the entry.
        files: files to read, in order; empty for a dataset.
        dataset: a `datasets` folder, or a hub name with `hf:`; None for files.
        layout: names of columns and turn fields, if another tool's file describes them.
    """

    split: SplitName
    name: str
    where: str
    config: SourceConfig
    files: tuple[InputFile, ...] = ()
    dataset: Path | str | None = None
    layout: Layout | None = None

    @property
    def task(self) -> str | None:
        """Name of the task; None in the pool."""
        return getattr(self.config, "task", None)

    @property
    def capability(self) -> str | None:
        """Capability of the task; None in the pool."""
        return getattr(self.config, "capability", None)

    @property
    def multiple_choice(self) -> bool:
        """Whether its rows are scored by their choices, and so must have some."""
        return isinstance(self.config, TestTask) and self.config.metric == "multiple_choice"

    def rows(self) -> Iterator[RawRow]:
        """Yield all rows of all files, in order."""
        if self.dataset is not None:
            yield from read_dataset(self._open(), self.dataset)
        for file in self.files:
            yield from read_rows(file, records=self.config.records, limits=self.config.limits)

    def digest(self) -> dict[str, Any]:
        """Return what in this source can change the result: content and settings, no paths.

        A file's path within a source of several files is part of its row ids, so it is included.
        """
        settings = sliced(self.config, "prepare")
        if self.layout is not None:
            settings["layout"] = asdict(self.layout)
        settings["multiple_choice"] = self.multiple_choice
        if self.dataset is None:
            content = [[file.label, file_digest(file.path)] for file in self.files]
        else:
            files = self._open().cache_files
            content = [[None, file_digest(Path(file["filename"]))] for file in files]
        return {"name": self.name, "settings": settings, "content": content}

    def _open(self) -> Any:
        if self.dataset is None:
            msg = f"{self.where} reads files"
            raise ValueError(msg)
        return open_dataset(self.dataset, split=self.config.split, where=self.where)


def find_sources(config: RunConfig, base_dir: Path) -> list[Source]:
    """Return all sources of a run, pool first, each with its files.

    Raises:
        ConfigError: an environment variable is not set, or two sources of a split share a name.
        DataError: a file does not exist.
    """
    entries = {"train": config.pool, "validation": config.validation, "test": config.test}
    found: list[Source] = []
    for split in SPLITS:
        named: dict[str, str] = {}
        for entry in entries[split]:
            for source in _find(entry, split, base_dir):
                if source.name in named:
                    msg = (
                        f"two {_KIND[split]}s are named {source.name!r} ({named[source.name]} and"
                        f" {entry.path}); give one of them another `name`"
                    )
                    raise ConfigError(msg)
                named[source.name] = entry.path
                found.append(source)
    if config.data.overlap != "drop":
        _refuse_held_out_files(found)
    return found


def _refuse_held_out_files(sources: list[Source]) -> None:
    """Raise if a folder or pattern of the pool includes files of validation or test.

    Both may name the same single file: `start` and `limit` can divide it.
    """
    held_out = {
        file.path.resolve(): source
        for source in sources
        if source.split != "train"
        for file in source.files
    }
    for source in sources:
        for file in source.files if source.split == "train" else ():
            other = held_out.get(file.path.resolve())
            if other is not None and file.label is not None:
                msg = (
                    f"{source.where} includes {file.shown}, a file of {other.where}; give the "
                    "pool a folder or pattern without it, or set data.overlap: drop, which "
                    "leaves such rows out of the pool"
                )
                raise ConfigError(msg)


def input_digests(config: RunConfig, base_dir: Path) -> dict[str, list[dict[str, Any]]]:
    """Return what the run reads, as content digests and settings, for use in a fingerprint.

    Args:
        config: the run.
        base_dir: folder that relative paths start from (that of the config file).

    Returns:
        For each of `pool`, `validation` and `test`, one JSON-serialisable record per source.

    Raises:
        ConfigError: an environment variable is not set, or two sources share a name.
        DataError: a file or dataset does not exist.
    """
    keys = {"train": "pool", "validation": "validation", "test": "test"}
    digests: dict[str, list[dict[str, Any]]] = {key: [] for key in keys.values()}
    for source in find_sources(config, base_dir):
        digests[keys[source.split]].append(source.digest())
    return digests


_KIND = {"train": "pool source", "validation": "validation source", "test": "test source"}


def _find(entry: SourceConfig, split: SplitName, base_dir: Path) -> list[Source]:
    """Return the source of an entry, or several if it names another tool's list of datasets."""
    label = entry.task if isinstance(entry, ValidationTask | TestTask) else entry.name
    where = f"{_KIND[split]} {label or brief(repr(entry.path))}"
    expanded = expand(entry.path, where=where)
    described = None if expanded.startswith(HUB_PREFIX) else _described(entry, base_dir, where)
    if described is None:
        return [_find_one(entry, split, base_dir)]
    return [_of_description(entry, one, split, base_dir, len(described)) for one in described]


def described_paths(entry: SourceConfig, base_dir: Path) -> list[str]:
    """Return the paths in another tool's file, if an entry's path is such a file.

    Hub names are left out.

    Raises:
        ConfigError, DataError: the file cannot be read, or uses an unsupported setting.
    """
    if entry.path.startswith(HUB_PREFIX):
        return []
    described = _described(entry, base_dir, f"source {entry.path!r}")
    return [one.path for one in described or () if not one.path.startswith(HUB_PREFIX)]


def _described(entry: SourceConfig, base_dir: Path, where: str) -> list[Described] | None:
    """Return what a `dataset_info.json` or an axolotl configuration describes."""
    path = absolute(entry.path, base_dir, where=where)
    if path.is_file() and path.name == llamafactory.FILE:
        return llamafactory.read_dataset_info(path, entry.dataset, where=where)
    if path.is_file() and path.suffix.lower() in axolotl.SUFFIXES:
        return axolotl.read_axolotl(path, entry.dataset, where=where)
    if entry.dataset is not None:
        msg = (
            f"{where}: `dataset` names an entry of LLaMA-Factory's dataset_info.json or of an"
            f" axolotl configuration, and {entry.path} is neither; remove it"
        )
        raise ConfigError(msg)
    return None


def _of_description(
    entry: SourceConfig, described: Described, split: SplitName, base_dir: Path, count: int
) -> Source:
    task = entry.task if isinstance(entry, ValidationTask | TestTask) else None
    label = entry.name or task
    name = described.name if label is None else label if count == 1 else f"{label}-{described.name}"
    changes: dict[str, Any] = {
        "path": described.path,
        "format": described.format,
        "name": name,
        "dataset": None,
    }
    if entry.split is None:
        changes["split"] = described.split
    if entry.limit is None:
        changes["limit"] = described.limit
    source = _find_one(entry.model_copy(update=changes), split, base_dir)
    return replace(source, layout=described.layout)


def _find_one(entry: SourceConfig, split: SplitName, base_dir: Path) -> Source:
    label = entry.task if isinstance(entry, ValidationTask | TestTask) else entry.name
    where = f"{_KIND[split]} {label or brief(repr(entry.path))}"
    expanded = expand(entry.path, where=where)
    if expanded.startswith(HUB_PREFIX):
        name = label or expanded.removeprefix(HUB_PREFIX).split("/")[-1].replace(":", "-")
        return Source(split, entry.name or name, where, entry, dataset=expanded)
    path = absolute(entry.path, base_dir, where=where)
    name = entry.name or label or _default_name(path)
    if is_dataset_folder(path):
        return Source(split, name, where, entry, dataset=path)
    files = find_files(path, base_dir, where=where)
    if entry.split is not None:
        msg = f"{where}: `split` is only for datasets, and {entry.path} has files; remove it"
        raise ConfigError(msg)
    return Source(split, name, where, entry, files=files)


def _default_name(path: Path) -> str:
    """Return a file's stem, a folder's name, or the name of a glob's leading folder."""
    if path.is_dir():
        return path.resolve().name
    return (
        fixed_part(path).resolve().name if glob.has_magic(str(path)) else split_suffix(path.name)[0]
    )
