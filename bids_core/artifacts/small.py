"""Small files of a store, a run folder or a model: read whole, refused where they are not small.

What is raised for content (too long, no JSON, nested too deeply) is a ValueError, so that whoever
reads one has one kind of damage to tell.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

SMALL_BYTES: Final = 64 << 20
"""More than any record, manifest or settings have; thousands of shards take a hundredth of it."""
LISTED_BYTES: Final = 2 << 30
"""Of files with an entry for each row, such as rejects; the limit of a JSON document of data."""


def read_small_bytes(path: Path, *, most: int = SMALL_BYTES) -> bytes:
    """Return a file's bytes.

    Args:
        path: of the file.
        most: its longest, in bytes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is longer.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = b"" if size > most else file.read(most + 1)
    if max(size, len(content)) > most:
        msg = f"it is larger than {most:,} bytes, the limit for such files"
        raise ValueError(msg)
    return content


def read_small_text(path: Path, *, most: int = SMALL_BYTES, encoding: str = "utf-8") -> str:
    """Return a file's text, its line ends made one; raises what `read_small_bytes` does."""
    text = read_small_bytes(path, most=most).decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_small_json(path: Path, *, most: int = SMALL_BYTES, encoding: str = "utf-8") -> Any:
    """Return what a JSON file holds; raises what `read_small_bytes` does."""
    return parse_json(read_small_bytes(path, most=most).decode(encoding))


def parse_json(content: str | bytes) -> Any:
    """Return what a JSON text holds.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
