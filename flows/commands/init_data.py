"""What `bids init` finds in the files that it is given: rows, formats, tasks."""

from __future__ import annotations

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
"""Characters of an answer that a model can be asked to give exactly."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What one source holds.

    Args:
        path: as it goes into the configuration.
        task: its task; blank for the pool.
        rows: that can be used; None where it was not looked into (a data set of the hub).
        words: rows, formats, and how many rows cannot be used.
        short: whether its answers are short enough to be compared exactly.
    """

    path: str
    task: str
    rows: int | None
    words: str
    short: bool = True


def look_at_pool(path: str, directory: Path) -> Looked:
    """Read a pool.

    Args:
        path: a file, folder, pattern or hub name, relative to the current folder.
        directory: of the configuration.

    Raises:
        UserError: there is nothing there, or no row can be used.
    """
    return _look(path, "", directory)


def look_at_tasks(text: str, directory: Path) -> list[Looked]:
    """Read examples of tasks: a file each, all files of a folder or pattern, or NAME=FILE.

    Raises:
        UserError: as `look_at_pool`.
    """
    name, equals, path = text.partition("=")
    if equals and re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        return [_look(path, name, directory)]
    if text.startswith(_HUB):
        return [_look(text, _task_name(text.removeprefix(_HUB)), directory)]
    from bids_core.data.locate import find_files

    where = "validation or test rows"
    try:
        files = find_files(Path(text).expanduser().absolute(), Path.cwd(), where=where)
    except DataError as error:
        raise UserError(str(error).partition("; relative paths")[0]) from error
    base = Path.cwd()
    return [
        _look(os.path.relpath(file.path, base), _task_name(file.path.name), directory)
        for file in files
    ]


def _task_name(file: str) -> str:
    """Return a task's name from a file's: its stem, with what a name cannot have left out."""
    stem = file.rpartition("/")[2].partition(".")[0]
    return re.sub(r"[^\w.-]+", "-", stem).strip("-._") or "task"


def _look(path: str, task: str, directory: Path) -> Looked:
    if path.startswith(_HUB):
        return Looked(path, task, None, "a data set of the hub, not looked into")
    written = Path(os.path.relpath(Path(path).expanduser().absolute(), directory.absolute()))
    read = _read(path, task)
    rows, rejected = len(read.examples), len(read.rejects)
    if not rows:
        why = "".join(f" ({one.location}: {one.detail})" for one in read.rejects[:1])
        what = f"none of its {rejected} rows can be used{why}" if rejected else "it has no rows"
        msg = f"{path}: {what}"
        raise DataError(msg)
    forms = Counter(str(example.form) for example in read.examples)
    words = f"{rows:,} rows ({', '.join(forms)})"
    if rejected:
        words += f", {rejected:,} more that cannot be used"
    lengths = [len(example.messages[-1].content) for example in read.examples]
    short = statistics.median(lengths) <= _SHORT_ANSWER
    return Looked(written.as_posix(), task, rows, words, short)


def _read(path: str, task: str) -> Ingested:
    """Read all rows of a source, without a tokenizer."""
    from bids_core.config import RunConfig, SourceConfig
    from bids_core.data.ingest import ingest
    from bids_core.data.sources import find_sources

    entry = SourceConfig(path=str(Path(path).expanduser().absolute()))
    config = RunConfig.model_construct(pool=(entry,), validation=(), test=())
    try:
        return ingest(find_sources(config, Path.cwd()))
    except (ConfigError, DataError) as error:
        text = (str(error).partition(": ")[2] or str(error)).partition("; relative paths")[0]
        msg = f"{task or 'pool'}: {text}"
        raise UserError(msg) from error
