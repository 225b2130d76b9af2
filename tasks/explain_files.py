"""`runs/<name>/explain/`: what `bids explain` needs, so that it works without the store.

The influence, the picks of each method, and the texts. Large parts stay only in the store.
"""

from __future__ import annotations

import shutil
import uuid
from typing import TYPE_CHECKING, Final

from tasks.locations import relative_location

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

    from bids_core.artifacts import Handle
    from bids_core.data import PreparedData

FOLDER: Final = "explain"
INFLUENCE: Final = "influence.zarr"
PICKS: Final = "picks"
"""Folder with a file of picks for each method."""
TEXTS: Final = ("pool.parquet", "validation.parquet")
LARGEST: Final = 64 << 20
"""Largest part that is copied, in bytes: of the matrix as stored, of the texts as text."""
_COLUMNS: Final = ["row_id", "source", "task", "location", "messages"]


def write_explain_files(
    folder: Path, data: PreparedData, matrix: Handle, selections: Mapping[str, Handle]
) -> None:
    """Copy what `bids explain` needs into a run folder.

    Args:
        folder: of the run; `explain/` is replaced as a whole, or the old one stays.
        data: the prepared data.
        matrix: the attribution matrix.
        selections: picks of each method.
    """
    aside = folder / f".explain-{uuid.uuid4().hex}"
    (aside / PICKS).mkdir(parents=True)
    for method, handle in selections.items():
        (picks,) = handle.path().glob("*.parquet")
        shutil.copy(picks, aside / PICKS / f"{method}.parquet")
    (group,) = matrix.path().glob("*.zarr")
    parts = [place for place in group.iterdir() if not place.name.startswith("checkpoint_")]
    if sum(_bytes(place) for place in parts) <= LARGEST:
        ignored = shutil.ignore_patterns("checkpoint_*")
        shutil.copytree(group, aside / INFLUENCE, ignore=ignored)
    frames = [_seen_from(split.frame[_COLUMNS], folder) for split in (data.train, data.validation)]
    if sum(int(frame["messages"].str.len().sum()) for frame in frames) <= LARGEST:
        for frame, name in zip(frames, TEXTS, strict=True):
            frame.to_parquet(aside / name, index=False, compression="zstd")
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    aside.rename(folder / FOLDER)


def _seen_from(frame: pd.DataFrame, folder: Path) -> pd.DataFrame:
    return frame.assign(location=[relative_location(each, folder) for each in frame["location"]])


def _bytes(place: Path) -> int:
    files = place.rglob("*") if place.is_dir() else (place,)
    return sum(file.stat().st_size for file in files if file.is_file())
