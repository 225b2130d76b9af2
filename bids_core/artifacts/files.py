"""The files of an artifact on the local disk: checksums, flushing, and atomic moves."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import xxhash

from bids_core.artifacts.small import read_small_json

if TYPE_CHECKING:
    from collections.abc import Mapping

RECORD: Final = "record.json"
_READ_BYTES: Final = 1 << 22


def file_digest(path: Path) -> str:
    """Return the xxh3-128 digest of a file's bytes."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def files_of(folder: Path) -> list[str]:
    """Return the names of an artifact's files, except its record."""
    names = (str(p.relative_to(folder).as_posix()) for p in folder.rglob("*") if p.is_file())
    return sorted(name for name in names if name != RECORD)


def describe(path: Path) -> dict[str, Any]:
    """Return the record's entry for a file."""
    return {"bytes": path.stat().st_size, "xxh3": file_digest(path)}


def files_in(record: Any) -> dict[str, Mapping[str, Any]]:
    """Return a record's entries for the artifact's files, by name.

    Raises:
        ValueError, KeyError, TypeError: it is not a record, or names a file outside the artifact.
    """
    files = dict(record["files"])
    for name, said in files.items():
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or not place.parts or "\0" in name:
            msg = f"it names {name!r}, which is not in the artifact"
            raise ValueError(msg)
        if not (isinstance(said, dict) and {"bytes", "xxh3"} <= set(said)):
            msg = f"it lacks the size and checksum of {name}"
            raise ValueError(msg)
    return files


def file_problem(folder: Path, name: str, expected: Mapping[str, Any]) -> str | None:
    """Return what is wrong with one file; None if it matches the record."""
    path = folder / name
    if not path.is_file():
        return f"{name} is missing"
    if not path.resolve().is_relative_to(folder.resolve()):
        return f"{name} is a link that leads out of the artifact"
    stat = path.stat()
    if stat.st_size != expected["bytes"]:
        return f"{name} has {stat.st_size} bytes instead of {expected['bytes']}"
    if _cached_digest(str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino) != expected["xxh3"]:
        return f"{name} does not match its checksum"
    return None


def is_whole(folder: Path) -> bool:
    """Return whether a folder holds its record and every file that the record names, undamaged."""
    try:
        files = files_in(read_small_json(folder / RECORD))
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return not any(file_problem(folder, name, expected) for name, expected in files.items())


def move_whole(folder: Path, target: Path) -> None:
    """Rename a finished folder into place, unless an intact artifact is already there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _sync(folder)
    try:
        folder.rename(target)
    except OSError:
        if not target.exists():
            raise
        if is_whole(target):
            return
        old = target.parent / f".{target.name}-{uuid.uuid4().hex}"
        target.rename(old)
        folder.rename(target)
        shutil.rmtree(old)


def is_full(error: BaseException) -> bool:
    """Return whether an error means that no space is left, whichever library raised it."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "No space left on device" in str(
        error
    )  # safetensors and Arrow have classes of their own


def _sync(folder: Path) -> None:
    """Flush a folder's files to disk before a rename, so that a crash cannot leave them empty."""
    for name in (*files_of(folder), RECORD):
        descriptor = os.open(folder / name, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@lru_cache(maxsize=65536)
def _cached_digest(path: str, size: int, mtime_ns: int, inode: int) -> str:  # noqa: ARG001 - key
    return file_digest(Path(path))
