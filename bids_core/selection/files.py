"""Selections in files: written with the utility of each pick, and read back.

Shapes: N training rows, M validation instances (columns), B picks.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from bids_core.errors import UserError
from bids_core.formatting import brief, with_formulas, without_formulas
from bids_core.influence.arrays import read_npy
from bids_core.influence.labels import ROW_ID, Labels, read_frame, read_json, read_lines
from bids_core.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    import pandas as pd

Ints = npt.NDArray[np.int64]

SUFFIXES: Final = (".parquet", ".csv", ".json", ".npy", ".txt")


def check_selection_path(path: Path) -> None:
    """Refuse a path with an unsupported suffix, before anything is computed.

    Raises:
        UserError: the suffix is not supported.
    """
    if path.suffix.lower() not in SUFFIXES:
        msg = f"{path}: the suffix of a selection must be one of {', '.join(SUFFIXES)}"
        raise UserError(msg)


def write_selection(
    path: Path,
    selection: Selection,
    labels: Labels,
    *,
    seed: int = 0,
    made_from: Mapping[str, Path | None] | None = None,
) -> None:
    """Write a selection; the suffix decides the format.

    Args:
        path: `.parquet`, `.csv` or `.json`: one record per pick with rank, row, row_id, source,
            utility, winning_column, winning_validation, winning_task; `.npy`: the row indices;
            `.txt`: the row ids, one per line. Makes parent folders; replaces an existing file.
        selection: the picks.
        labels: names of the rows and columns.
        seed: of the selection.
        made_from: input files, by the name of their option. A Parquet file records them with
            method, normalisation and seed, for `read_origin`.

    Raises:
        UserError: the suffix is not supported, or the file cannot be written.
    """
    check_selection_path(path)
    frame = selection.to_frame(labels.row_ids, labels.sources, labels.validation_ids, labels.tasks)
    frame.attrs["method"] = selection.method
    frame.attrs["normalization"] = selection.normalization
    frame.attrs["seed"] = seed
    frame.attrs |= _relative(made_from or {}, path)
    suffix = path.suffix.lower()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == ".parquet":
            frame.to_parquet(path, index=False)
        elif suffix == ".csv":
            without_formulas(frame).to_csv(path, index=False)
        elif suffix == ".json":
            frame.to_json(path, orient="records", double_precision=15, indent=1)
        elif suffix == ".npy":
            np.save(path, selection.indices, allow_pickle=False)
        else:
            path.write_text("".join(f"{name}\n" for name in frame[ROW_ID]), encoding="utf-8")
    except OSError as error:
        msg = f"{path} cannot be written: {error}"
        raise UserError(msg) from error


def read_origin(path: Path) -> dict[str, Any]:
    """Return the origin recorded by `write_selection`, with paths relative to the file's folder.

    Empty for files in other formats, and for picks made elsewhere.

    Raises:
        UserError: the file cannot be read.
    """
    if path.suffix.lower() != ".parquet":
        return {}
    return {str(name): value for name, value in read_frame(path).attrs.items()}


def _relative(files: Mapping[str, Path | None], path: Path) -> dict[Hashable, Any]:
    folder = path.absolute().parent
    return {
        name: Path(os.path.relpath(file.absolute(), folder)).as_posix()
        for name, file in files.items()
        if file is not None
    }


def read_selection(path: Path, labels: Labels) -> Selection | Ints:
    """Read a selection, in pick order.

    Args:
        path: what `write_selection` wrote, or a table with a column `row_id`, or a list of ids.
        labels: of the matrix that its rows belong to; row ids are looked up there.

    Returns:
        A `Selection` if the file has utilities and winning columns, otherwise [B] row indices.

    Raises:
        UserError: the file cannot be read, or names rows that the matrix does not have.
    """
    check_selection_path(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _in_range(_read_indices(path), path, labels)
    if suffix == ".txt":
        return _rows_of(read_lines(path), path, labels)
    if suffix == ".json":
        listed = list(read_json(path))
        if not all(isinstance(pick, dict) for pick in listed):
            return _rows_of([str(name) for name in listed], path, labels)
        frame = _as_frame(listed, path)
    else:
        frame = read_frame(path)
    if suffix == ".csv" and ROW_ID in frame:
        frame[ROW_ID] = [with_formulas(str(name)) for name in frame[ROW_ID]]
    return _of_frame(frame, path, labels)


def _as_frame(records: list[dict[str, Any]], path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.DataFrame(records)
    except (ValueError, TypeError) as error:  # undecodable text, for example
        msg = f"{path} cannot be read as a table: {brief(error)}"
        raise UserError(msg) from error


def _of_frame(frame: pd.DataFrame, path: Path, labels: Labels) -> Selection | Ints:
    if ROW_ID not in frame:
        msg = f"{path} has no column {ROW_ID!r} (it has {brief(', '.join(map(str, frame)))})"
        raise UserError(msg)
    rows = _rows_of([str(name) for name in frame[ROW_ID]], path, labels)
    if not {"utility", "winning_column"} <= set(frame):
        return rows
    try:
        columns = frame["winning_column"].to_numpy(dtype=np.int64)
        utilities = frame["utility"].to_numpy(dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        msg = f"{path}: `utility` and `winning_column` must hold numbers: {brief(error)}"
        raise UserError(msg) from error
    if columns.max(initial=-1) >= (labels.n_columns or 0):
        msg = f"{path} names winning column {columns.max()}, which is not in the matrix"
        raise UserError(msg)
    return Selection(
        indices=rows,
        utilities=utilities,
        winning_columns=columns,
        method="file",
        normalization="none",
        n_rows=labels.n_rows,
        labels=labels,
    )


def _read_indices(path: Path) -> Ints:
    values = read_npy(path, what="a list of row indices")
    if values.ndim != 1 or values.dtype.kind not in "iu":
        msg = f"{path} holds {values.dtype} of shape {values.shape}, not a list of row indices"
        raise UserError(msg)
    return np.asarray(values, dtype=np.int64)


def _in_range(rows: Ints, path: Path, labels: Labels) -> Ints:
    outside = rows[(rows < 0) | (rows >= labels.n_rows)]
    if len(outside) or not len(rows):
        what = f"row {outside[0]}, which is not in the matrix" if len(outside) else "no row"
        msg = f"{path} names {what}"
        raise UserError(msg)
    return rows


def _rows_of(names: list[str], path: Path, labels: Labels) -> Ints:
    ids = labels.row_ids if labels.row_ids is not None else range(labels.n_rows)
    place = {str(name): row for row, name in enumerate(ids)}
    unknown = [name for name in names if name not in place]
    if unknown or not names:
        what = f"row {brief(repr(unknown[0]))}, which is not in the matrix" if unknown else "no row"
        msg = f"{path} names {what}"
        raise UserError(msg)
    return np.array([place[name] for name in names], dtype=np.int64)
