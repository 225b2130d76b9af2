"""A source described by another tool's file: where its rows are, and their layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bids_core.data.layout import Layout


@dataclass(frozen=True, slots=True)
class Described:
    """One dataset in another tool's file.

    Args:
        name: name of the source.
        path: file, folder, glob, or `hf:` and a hub name.
        format: of its rows.
        layout: names of its columns and turns.
        split: of a hub dataset or `datasets` folder.
        limit: at most this many rows.
    """

    name: str
    path: str
    format: str
    layout: Layout
    split: str | None = None
    limit: int | None = None
