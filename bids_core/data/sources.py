"""The sources of a run, found and named: what each reads, for which split and task."""

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
    """One entry of `pool`, `validation` or `test`, with what it stands for on this machine.

    Args:
        split: which split its rows go to.
        name: the source's name; a task's name where the entry gives no other.
        where: how messages name it.
        config: the entry.
        files: files to read, in this order; empty for a data set.
        dataset: a `datasets` folder, or a hub name with its `hf:`; None for files.
        layout: names of columns and turns, where another tool's file describes them.
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
        """Its rows are scored by their choices, so they must have some."""
        return isinstance(self.config, TestTask) and self.config.metric == "multiple_choice"

    def rows(self) -> Iterator[RawRow]:
        """Yield all rows, of all files in order."""
        if self.dataset is not None:
            yield from read_dataset(self._open(), self.dataset)
        for file in self.files:
            yield from read_rows(file, records=self.config.records, limits=self.config.limits)

    def digest(self) -> dict[str, Any]:
        """Return what of this source can change the result: content and settings, no paths.

        A file's place within a source of several files is part of its row ids, so it counts.
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
        DataError: there is no such file.
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
    """Refuse a folder or pattern of the pool that takes in files of validation or test.

    A single file may be named by both: `start` and `limit` can divide it.
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
    """Return what the run reads, as content digests and settings: the inputs of a fingerprint.

    Args:
        config: the run.
        base_dir: folder that relative paths start from, the config file's.

    Returns:
        For `pool`, `validation` and `test` one JSON-serialisable record a source.

    Raises:
        ConfigError: an environment variable is not set, or two sources share a name.
        DataError: a file or data set is not there.
    """
    keys = {"train": "pool", "validation": "validation", "test": "test"}
    digests: dict[str, list[dict[str, Any]]] = {key: [] for key in keys.values()}
    for source in find_sources(config, base_dir):
        digests[keys[source.split]].append(source.digest())
    return digests


_KIND = {"train": "pool source", "validation": "validation source", "test": "test source"}


def _find(entry: SourceConfig, split: SplitName, base_dir: Path) -> list[Source]:
    """Return the source of an entry; several where it names another tool's list of data sets."""
    label = entry.task if isinstance(entry, ValidationTask | TestTask) else entry.name
    where = f"{_KIND[split]} {label or brief(repr(entry.path))}"
    expanded = expand(entry.path, where=where)
    described = None if expanded.startswith(HUB_PREFIX) else _described(entry, base_dir, where)
    if described is None:
        return [_find_one(entry, split, base_dir)]
    return [_of_description(entry, one, split, base_dir, len(described)) for one in described]


def described_paths(entry: SourceConfig, base_dir: Path) -> list[str]:
    """Return the places that another tool's file names, where an entry's path is such a file.

    Hub names name none.

    Raises:
        ConfigError, DataError: the file cannot be read, or asks for what is not supported.
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
        msg = f"{where}: `split` is only for data sets, and {entry.path} has files; remove it"
        raise ConfigError(msg)
    return Source(split, name, where, entry, files=files)


def _default_name(path: Path) -> str:
    """Return a file's stem, a folder's name, or the name of the folder that a glob looks in."""
    if path.is_dir():
        return path.resolve().name
    return (
        fixed_part(path).resolve().name if glob.has_magic(str(path)) else split_suffix(path.name)[0]
    )
