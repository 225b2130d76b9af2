"""What `bids init` finds in the given files: rows, formats, tasks."""

from __future__ import annotations

import glob
import os
import re
import statistics
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bids_core.errors import ConfigError, DataError, UserError

if TYPE_CHECKING:
    from bids_core.data.ingest import Ingested

_HUB: Final = "hf:"
_SHORT_ANSWER: Final = 40
"""Longest answer, in characters, that a model can be expected to give exactly."""


@dataclass(frozen=True, slots=True)
class Looked:
    """The contents of one source.

    Args:
        path: as written to the configuration.
        task: its task; blank for the pool.
        rows: number of usable rows; None if it was not read (a hub data set).
        words: in words, rows, formats, and how many rows are unusable.
        short: whether its answers are short enough for exact comparison.
    """

    path: str
    task: str
    rows: int | None
    words: str
    short: bool = True


def look_at_pool(path: str, directory: Path, *, option: str = "") -> Looked:
    """Read a pool.

    Args:
        path: a file, folder, pattern or hub name, relative to the current folder.
        directory: of the configuration.
        option: the option with the path, for messages; blank if it was typed as an answer.

    Raises:
        UserError: the path does not exist, or none of its rows is usable.
    """
    require_path(path, option=option)
    return _look(path, "", directory, where=_where(option, path))


def look_at_tasks(text: str, directory: Path, *, option: str = "") -> list[Looked]:
    """Read examples of tasks: one file per task, all files of a folder or pattern, or NAME=FILE.

    Raises:
        UserError: as for `look_at_pool`.
    """
    where = _where(option, text)
    name, path = _named(text)
    if name:
        require_path(text, option=option)
        return [_look(path, name, directory, where=where)]
    if text.startswith(_HUB):
        return [_look(text, _task_name(text.removeprefix(_HUB)), directory, where=where)]
    from bids_core.data.locate import find_files

    require_path(text, option=option)
    base = Path.cwd()
    try:
        files = find_files(Path(text).expanduser().absolute(), base, where=where)
    except DataError as error:
        raise UserError(str(error)) from error
    found = [(os.path.relpath(file.path, base), _task_name(file.path.name)) for file in files]
    return [_look(path, task, directory, where=_where(option, path)) for path, task in found]


def _where(option: str, text: str) -> str:
    return f"{option} {text}".strip()


def require_path(text: str, *, option: str = "") -> None:
    """Refuse a path that does not exist; patterns and hub names are looked up later.

    Args:
        text: as for `look_at_pool` and `look_at_tasks`.
        option: as for them.

    Raises:
        UserError: it does not exist.
    """
    if text.startswith(_HUB) or glob.has_magic(text):
        return
    if any(os.path.lexists(Path(path).expanduser()) for path in (text, _named(text)[1])):
        return
    msg = (
        f"{_where(option, text)} does not exist; give a file, a folder or a pattern (relative "
        f"paths start at the current folder, {Path.cwd()})"
    )
    raise UserError(msg)


def _named(text: str) -> tuple[str, str]:
    """Return task and path of NAME=FILE; without a name, a blank task."""
    name, equals, path = text.partition("=")
    is_named = equals and re.fullmatch(r"[A-Za-z0-9][\w.-]*", name)
    return (name, path) if is_named else ("", text)


def _task_name(file: str) -> str:
    """Return a task's name from a file's: its stem without characters that a name cannot have."""
    stem = file.rpartition("/")[2].partition(".")[0]
    return re.sub(r"[^\w.-]+", "-", stem).strip("-._") or "task"


def _look(path: str, task: str, directory: Path, *, where: str) -> Looked:
    if path.startswith(_HUB):
        return Looked(path, task, None, "a hub data set, not read yet")
    written = Path(os.path.relpath(Path(path).expanduser().absolute(), directory.absolute()))
    read = _read(path, where)
    rows, rejected = len(read.examples), len(read.rejects)
    if not rows:
        why = "".join(f" ({one.location}: {one.detail})" for one in read.rejects[:1])
        what = f"none of its {rejected} rows is usable{why}" if rejected else "it has no rows"
        later = "; or leave it out and add it to bids.yaml, with a `mapping`" if rejected else ""
        msg = f"{where}: {what}; give a file with usable rows{later}"
        raise DataError(msg)
    forms = Counter(str(example.form) for example in read.examples)
    words = f"{rows:,} rows ({', '.join(forms)})"
    if rejected:
        words += f", {rejected:,} more are unusable (bids check says why)"
    lengths = [len(example.messages[-1].content) for example in read.examples]
    short = statistics.median(lengths) <= _SHORT_ANSWER
    return Looked(written.as_posix(), task, rows, words, short)


def _read(path: str, where: str) -> Ingested:
    """Read all rows of a source, without a tokenizer."""
    from bids_core.config import RunConfig, SourceConfig
    from bids_core.data.ingest import ingest
    from bids_core.data.sources import find_sources

    entry = SourceConfig(path=str(Path(path).expanduser().absolute()))
    config = RunConfig.model_construct(pool=(entry,), validation=(), test=())
    try:
        return ingest(find_sources(config, Path.cwd()))
    except (ConfigError, DataError) as error:
        msg = f"{where}: {str(error).partition(': ')[2] or error}"  # without "pool source ..."
        raise UserError(msg) from error
