"""From a path in the configuration to the files it names: variables, globs, folders."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bids_core.errors import ConfigError, DataError
from bids_core.formatting import brief

COMPRESSIONS: Final = (".gz", ".zst")
SUFFIXES: Final = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
HUB_PREFIX: Final = "hf:"
_VARIABLE: Final = re.compile(r"\$\{([^}]*)\}")
_DATASET_MARKS: Final = ("dataset_dict.json", "state.json")


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to read rows from.

    Args:
        path: its path.
        shown: its name in messages: relative to the config's folder if it is inside it.
        label: its path within a source of several files; None in a source of one file.
    """

    path: Path
    shown: str
    label: str | None = None

    @property
    def kind(self) -> str:
        """Suffix that determines how it is read, without compression: `.jsonl`, `.csv`, ..."""
        return split_suffix(self.path.name)[1]

    @property
    def compression(self) -> str | None:
        """`.gz`, `.zst` or None."""
        last = self.path.suffix.lower()
        return last if last in COMPRESSIONS else None

    @property
    def stem(self) -> str:
        """Name without folder and suffixes."""
        return split_suffix(self.path.name)[0]


def split_suffix(name: str) -> tuple[str, str]:
    """Split a file name into stem and kind, `("train", ".jsonl")` for `train.jsonl.gz`."""
    lowered = name.lower()
    for compression in COMPRESSIONS:
        if lowered.endswith(compression):
            name = name[: -len(compression)]
    path = Path(name)
    return path.stem, path.suffix.lower()


def expand(path: str, *, where: str) -> str:
    """Expand `${VAR}` and `~`.

    Raises:
        ConfigError: a variable is not set.
    """

    def value_of(match: re.Match[str]) -> str:
        value = os.environ.get(match[1])
        if not value:
            msg = (
                f"{where}: path {path!r} uses the environment variable {match[1]}, which is not"
                f" set; set it (export {match[1]}=...) or write the path out"
            )
            raise ConfigError(msg)
        return value

    return os.path.expanduser(_VARIABLE.sub(value_of, path))


def absolute(path: str, base_dir: Path, *, where: str) -> Path:
    """Expand a path, and resolve it against the config's folder."""
    expanded = expand(path, where=where)
    if "://" in expanded:
        msg = f"{where}: path {path!r} is a URL; download the file and give its local path"
        raise ConfigError(msg)
    joined = Path(base_dir, expanded)
    try:
        joined.exists()
    except (OSError, ValueError) as error:  # too long, NUL characters, no access
        msg = f"{where}: path {brief(repr(path))} cannot be read ({brief(error)}); give another"
        raise ConfigError(msg) from error
    return joined


def is_dataset_folder(path: Path) -> bool:
    """Return whether `datasets` wrote this folder with `save_to_disk`."""
    return path.is_dir() and any((path / mark).is_file() for mark in _DATASET_MARKS)


def find_files(path: Path, base_dir: Path, *, where: str) -> tuple[InputFile, ...]:
    """Return the files that a file name, folder or glob matches, in a fixed order.

    A folder matches all files inside it with a known suffix, except hidden ones.

    Raises:
        DataError: there is none, or one cannot be read.
    """
    if path.is_file():
        found, root = [path], None
    elif path.is_dir():
        found, root = _files_beneath(path), path
    else:
        matches = sorted(glob.glob(str(path), recursive=True))
        found, root = [Path(match) for match in matches if Path(match).is_file()], fixed_part(path)
    if not found:
        raise DataError(_nothing_found(path, base_dir, where))
    for file in found:
        if split_suffix(file.name)[1] not in SUFFIXES:
            msg = (
                f"{where}: {show(file, base_dir)} has an unknown suffix; expected one of"
                f" {' '.join(SUFFIXES)}, also with {' or '.join(COMPRESSIONS)}"
            )
            raise DataError(msg)
    return tuple(
        InputFile(file, show(file, base_dir), _label(file, root) if root else None)
        for file in found
    )


def fixed_part(path: Path) -> Path:
    """Return the leading folders of a glob, up to the first wildcard."""
    for parent in path.parents:
        if not glob.has_magic(str(parent)):
            return parent
    return Path()


def show(path: Path, base_dir: Path) -> str:
    """Return a path as shown in messages; bytes that are not UTF-8 are replaced."""
    try:
        shown = path.resolve().relative_to(base_dir.resolve())
    except (ValueError, OSError, RuntimeError):  # outside it, or a symlink loop
        shown = path
    return _as_text(shown)


def _label(file: Path, root: Path) -> str:
    return _as_text(file.relative_to(root))


def _as_text(path: Path) -> str:
    return path.as_posix().encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _files_beneath(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file()
        and split_suffix(file.name)[1] in SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def _nothing_found(path: Path, base_dir: Path, where: str) -> str:
    shown = show(path, base_dir)
    if glob.has_magic(str(path)):
        return f"{where}: no file matches {shown}; check the pattern and the folder"
    if path.is_dir():
        return (
            f"{where}: the folder {shown} holds no file ending in {' '.join(SUFFIXES)}; add "
            "one, or name another folder"
        )
    return f"{where}: {shown} does not exist; relative paths start at the config file's folder"
