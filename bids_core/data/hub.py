"""Rows from a `datasets` folder (`save_to_disk`) or a dataset on the hub (`hf:org/name`)."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bids_core.data.hub_probe import unanswered
from bids_core.data.hub_rate import HubTooSlow, watched_hub
from bids_core.data.locate import HUB_PREFIX, InputFile
from bids_core.data.packed_arrow import packed_file
from bids_core.data.reading import RawRow, without_filled_nulls
from bids_core.errors import DataError
from bids_core.formatting import brief

if TYPE_CHECKING:
    from collections.abc import Iterator


_HUB_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def open_dataset(path: Path | str, *, split: str | None, where: str) -> Any:
    """Open a dataset. Images, audio, video and the like stay undecoded.

    Args:
        path: a folder written by `save_to_disk`, or `hf:org/name`, or `hf:org/name:config`.
        split: which split; may be None if there is only one.
        where: how messages name the source.

    Returns:
        A `datasets.Dataset`.

    Raises:
        DataError: it is missing, damaged or unreachable, the split is missing or ambiguous, or a
            folder refers to files outside it.
    """
    import datasets

    shown = str(path)
    try:
        if isinstance(path, Path):
            if (packed := packed_file(path)) is not None:
                msg = (
                    f"{where}: the dataset {shown}: {packed.name} is compressed, which "
                    "`datasets` never does; save the dataset again"
                )
                raise DataError(msg)
            loaded = datasets.load_from_disk(shown)
        else:
            name, _, subset = path.removeprefix(HUB_PREFIX).partition(":")
            _require_hub_name(name, where)
            if (silence := unanswered("datasets", name)) is not None:
                raise DataError(f"{where}: the dataset {shown} cannot be loaded: {silence}")
            with watched_hub():
                loaded = datasets.load_dataset(name, subset or None)
    except DataError:
        raise
    except HubTooSlow as error:
        raise DataError(f"{where}: the dataset {shown} cannot be loaded: {error}") from error
    except Exception as error:  # a damaged folder can raise many types of error
        reason = _reason(error)
        msg = (
            f"{where}: the dataset {shown} cannot be loaded ({reason}); check its name and the"
            " network, or download it (`save_to_disk`) and give the folder's path"
        )
        raise DataError(msg) from error
    picked = _pick_split(loaded, split, f"{where}: the dataset {shown}")
    if isinstance(path, Path):
        _require_own_files(picked, path, f"{where}: the dataset {shown}")
        _require_whole(picked, f"{where}: the dataset {shown}")
    for feature in picked.info.features.values():
        _leave_undecoded(feature)
    return picked


def _require_hub_name(name: str, where: str) -> None:
    """Raise for names that `datasets` would not look up on the hub: folders, URLs, its own readers.

    Raises:
        DataError: it is not a hub name, or a local folder has the same name.
    """
    if not _HUB_NAME.fullmatch(name) or ".." in name:
        msg = f"{where}: {HUB_PREFIX}{brief(name)} is not a hub name; write {HUB_PREFIX}org/name"
        raise DataError(msg)
    if Path(name).exists():
        msg = (
            f"{where}: there is a folder {name} here, and `datasets` would load it instead; "
            "rename it"
        )
        raise DataError(msg)


def _reason(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


def read_dataset(dataset: Any, path: Path | str) -> Iterator[RawRow]:
    """Yield the rows of an open dataset, numbered from 1."""
    shown = path.name if isinstance(path, Path) else path
    file = InputFile(Path(shown), shown)
    rows = iter(dataset)
    for number in itertools.count(1):
        try:
            row = next(rows)
        except StopIteration:
            return
        except Exception as error:  # from Arrow and `datasets`, if columns are not as declared
            msg = f"{shown}: row {number} cannot be read ({_reason(error)}); save it again"
            raise DataError(msg) from error
        yield RawRow(file, number, without_filled_nulls(row))


def _require_whole(dataset: Any, what: str) -> None:
    """Validate a folder's data: Arrow follows the offsets of a damaged file unchecked.

    Raises:
        DataError: it is damaged.
    """
    import pyarrow as pa

    try:
        dataset.data.table.validate(full=True)
    except pa.ArrowException as error:
        msg = f"{what} is damaged ({_reason(error)}); save it again"
        raise DataError(msg) from error


def _require_own_files(dataset: Any, folder: Path, what: str) -> None:
    """Raise if a folder's `state.json` or `dataset_dict.json` refers to files outside it."""
    root = os.path.abspath(folder)
    for file in dataset.cache_files:
        if not Path(os.path.abspath(file["filename"])).is_relative_to(root):
            msg = f"{what} names {file['filename']}, which is missing; save it again with its data"
            raise DataError(msg)


def _leave_undecoded(feature: Any) -> None:
    """Turn off decoding of images, audio and the like in a column, at any depth.

    Decoding opens whatever the row names: any local file, or a URL, which would be fetched.
    """
    from datasets import features

    if isinstance(feature, dict):
        for inner in feature.values():
            _leave_undecoded(inner)
    elif isinstance(feature, list | tuple):
        for inner in feature:
            _leave_undecoded(inner)
    elif hasattr(feature, "feature"):
        _leave_undecoded(feature.feature)
    elif hasattr(feature, "decode") and not isinstance(feature, getattr(features, "Json", ())):
        feature.decode = False


def _pick_split(loaded: Any, split: str | None, what: str) -> Any:
    import datasets

    if not isinstance(loaded, dict):
        if (
            split is not None
            and isinstance(loaded, datasets.Dataset)
            and str(loaded.split) != split
        ):
            msg = f"{what} has no split {split!r} (it is one split: {loaded.split}); remove `split`"
            raise DataError(msg)
        return loaded
    names = ", ".join(map(str, loaded))
    if split is None and len(loaded) == 1:
        return next(iter(loaded.values()))
    if split is None:
        msg = f"{what} has several splits; set `split` to one of: {names}"
        raise DataError(msg)
    if split not in loaded:
        msg = f"{what} has no split {split!r}; set `split` to one of: {names}"
        raise DataError(msg)
    return loaded[split]
