"""Attribution matrices and the labels of their rows and columns, read from users' files.

Shapes: N training rows, M validation instances (columns).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bids_core.errors import MatrixError
from bids_core.formatting import brief
from bids_core.influence.arrays import read_npy
from bids_core.influence.labels import ROW_ID, Labels, read_frame
from bids_core.influence.matrix import RESIDENT_BYTES, Matrix, MatrixLike, as_matrix

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd


@dataclass(frozen=True)
class LabelledMatrix:
    """A matrix and what its file says about its rows and columns.

    Args:
        matrix: [N, M].
        labels: of its rows and columns.
        checkpoints: C matrices [N, M] of cosines before weighting, where the file keeps them.
        checkpoint_weights: C weights.
        expected_error: [N], for an inferred matrix; see `bids_core.influence.stored.Attribution`.
        landmark: [N], likewise.
    """

    matrix: Matrix
    labels: Labels
    checkpoints: tuple[MatrixLike, ...] = ()
    checkpoint_weights: tuple[float, ...] = ()
    expected_error: npt.NDArray[np.float32] | None = None
    landmark: npt.NDArray[np.int64] | None = None


def open_matrix(
    attribution: MatrixLike | LabelledMatrix | str | Path,
    *,
    row_ids: Sequence[str] | None = None,
    validation_ids: Sequence[str] | None = None,
) -> LabelledMatrix:
    """Open a matrix in any supported form, with the names it comes with.

    Args:
        attribution: [N, M] influence: the path of a file (see `read_matrix`), a pandas frame (its
            index and columns are the names; a column `row_id` names the rows instead), or what
            `as_matrix` takes.
        row_ids: N names of the rows, instead of its own.
        validation_ids: M names of the validation instances, instead of its own.

    Raises:
        MatrixError: it cannot be read, is not a matrix of numbers, or does not match the names.
    """
    if isinstance(attribution, str | Path):
        opened = read_matrix(Path(attribution).expanduser())
    elif isinstance(attribution, LabelledMatrix):
        opened = attribution
    elif hasattr(attribution, "columns") and hasattr(attribution, "index"):  # a pandas frame
        opened = _of_frame(attribution, "the frame")
    else:
        opened = _named(as_matrix(attribution))
    if row_ids is None and validation_ids is None:
        return opened
    matrix = as_matrix(opened.matrix, row_ids=row_ids, validation_ids=validation_ids)
    labels = replace(opened.labels, row_ids=matrix.row_ids, validation_ids=matrix.validation_ids)
    return replace(opened, matrix=matrix, labels=labels)


def read_matrix(path: str | Path) -> LabelledMatrix:
    """Read a matrix file.

    Args:
        path: `.npy` (an [N, M] array), `.zarr` (an array, or the group that the attribution stage
            writes), `.parquet` or `.csv` (numeric columns are validation instances, their names
            the validation ids; a column `row_id` names the rows).

    Raises:
        MatrixError: the file is missing, damaged, or of another kind.
    """
    path = Path(path)
    if not path.exists():
        msg = f"{path} does not exist; give a .npy, .zarr, .parquet or .csv file"
        raise MatrixError(msg)
    if (path / "zarr.json").is_file() or (path / ".zarray").is_file():
        return _read_zarr(path)
    readers: dict[str, Callable[[Path], LabelledMatrix]] = {
        ".npy": _read_npy,
        ".parquet": _read_table,
        ".csv": _read_table,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None or path.is_dir():
        msg = f"{path} is not a matrix file; give .npy, .zarr, .parquet or .csv"
        raise MatrixError(msg)
    return reader(path)


def _read_npy(path: Path) -> LabelledMatrix:
    mapped = path.stat().st_size > RESIDENT_BYTES
    values = read_npy(path, what="a numpy array", error=MatrixError, mapped=mapped)
    return _named(as_matrix(values))


def _read_zarr(path: Path) -> LabelledMatrix:
    import zarr

    from bids_core.data import open_zarr
    from bids_core.influence.stored import open_attribution

    try:
        node = open_zarr(path)
    except Exception as error:  # zarr raises many kinds of error for invalid metadata
        msg = f"{path} cannot be read as a Zarr array: {type(error).__name__}: {brief(error)}"
        raise MatrixError(msg) from error
    if isinstance(node, zarr.Array):
        return _named(_read_whole(node, path))
    if "attribution" not in node:
        msg = f"{path} is a Zarr group without an array named 'attribution'"
        raise MatrixError(msg)
    opened = open_attribution(path)
    matrix = _read_whole(
        opened.matrix, path, row_ids=opened.row_ids, validation_ids=opened.validation_ids
    )
    labels = replace(
        _named(matrix).labels,
        tasks=tuple(opened.tasks),
        subtasks=tuple(opened.subtasks),
        capabilities=tuple(opened.capabilities),
    )
    return LabelledMatrix(
        matrix,
        labels,
        checkpoints=opened.parts,
        checkpoint_weights=tuple(opened.checkpoint_weights),
        expected_error=opened.expected_error,
        landmark=opened.landmark,
    )


def _read_whole(array: Any, path: Path, **names: Any) -> Matrix:
    """Wrap an array; a small one is read, so that damaged chunks are noticed here.

    Raises:
        MatrixError: a chunk is damaged, or it is not a matrix.
    """
    try:
        return as_matrix(array, **names)
    except MatrixError:
        raise
    except Exception as error:  # errors of zarr and of each of its codecs
        msg = f"{path} cannot be read: {brief(error) or type(error).__name__}"
        raise MatrixError(msg) from error


def _read_table(path: Path) -> LabelledMatrix:
    frame = read_frame(path)
    named = ROW_ID in frame
    opened = _of_frame(frame, str(path))
    return opened if named else _named(replace(opened.matrix, row_ids=None))


def _of_frame(frame: pd.DataFrame, where: str) -> LabelledMatrix:
    row_ids = frame.get(ROW_ID, frame.index)
    columns = frame.drop(columns=ROW_ID) if ROW_ID in frame else frame
    wrong = [str(name) for name, dtype in columns.dtypes.items() if dtype.kind not in "iuf"]
    if wrong:
        msg = (
            f"column {wrong[0]!r} of {where} does not hold numbers, as every column but `row_id` "
            "must: rename it to row_id if it names the rows, or remove it"
        )
        raise MatrixError(msg)
    matrix = as_matrix(
        np.ascontiguousarray(columns.to_numpy()),
        row_ids=[str(name) for name in row_ids],
        validation_ids=[str(name) for name in columns.columns],
    )
    return _named(matrix)


def _named(matrix: Matrix) -> LabelledMatrix:
    labels = Labels(matrix.n_rows, matrix.n_columns, matrix.row_ids, matrix.validation_ids)
    return LabelledMatrix(matrix, labels)
