"""A source that another tool's file describes: where its rows lie and how they are laid out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bids_core.data.layout import Layout


@dataclass(frozen=True, slots=True)
class Described:
    """One data set of another tool's file.

    Args:
        name: what the source is called.
        path: file, folder, glob, or `hf:` and a hub name.
        format: of its rows.
        layout: names of its columns and turns.
        split: of a hub data set or `datasets` folder.
        limit: at most this many rows.
    """

    name: str
    path: str
    format: str
    layout: Layout
    split: str | None = None
    limit: int | None = None
