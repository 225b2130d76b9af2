"""Attribution matrices and the labels of their rows and columns, in files that people have.

Shapes: N training rows, M validation instances (columns).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bids_core.errors import MatrixError, UserError
from bids_core.matrix import RESIDENT_BYTES, Matrix, MatrixLike, as_matrix

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

ROW_ID: Final = "row_id"
VALIDATION_ID: Final = "validation_id"


@dataclass(frozen=True)
class LabelledMatrix:
    """A matrix and what is known about its rows and columns.

    Args:
        matrix: [N, M], with names where the file had them.
        tasks: M names.
        subtasks: M names.
        capabilities: M names.
        sources: N names.
        checkpoints: C matrices [N, M] of cosines before weighting, where the file keeps them.
        checkpoint_weights: C weights.
    """

    matrix: Matrix
    tasks: tuple[str, ...] | None = None
    subtasks: tuple[str, ...] | None = None
    capabilities: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None
    checkpoints: tuple[MatrixLike, ...] = ()
    checkpoint_weights: tuple[float, ...] = ()


def read_matrix(path: Path) -> LabelledMatrix:
    """Read a matrix file.

    Args:
        path: `.npy` (an [N, M] array), `.zarr` (an array, or the group that the attribution stage
            writes), `.parquet` or `.csv` (numeric columns are validation instances, their names
            the validation ids; a column `row_id` names the rows).

    Raises:
        MatrixError: the file is not there, not of these kinds, or damaged.
    """
    if not path.exists():
        msg = f"{path} is not there"
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
        msg = f"{path} is not a matrix file: .npy, .zarr, .parquet and .csv are read"
        raise MatrixError(msg)
    return reader(path)


def _read_npy(path: Path) -> LabelledMatrix:
    mode = "r" if path.stat().st_size > RESIDENT_BYTES else None
    try:
        values = np.load(path, mmap_mode=mode, allow_pickle=False)  # type: ignore[arg-type]
    except (OSError, ValueError, EOFError) as error:
        msg = f"{path} can not be read as a numpy array: {error}"
        raise MatrixError(msg) from error
    return LabelledMatrix(as_matrix(np.asarray(values)))


def _read_zarr(path: Path) -> LabelledMatrix:
    import zarr

    from bids_core.attribution import open_attribution

    try:
        node = zarr.open(path, mode="r")
    except (OSError, KeyError, ValueError, TypeError) as error:
        msg = f"{path} can not be read as a Zarr array: {error}"
        raise MatrixError(msg) from error
    if isinstance(node, zarr.Array):
        return LabelledMatrix(as_matrix(node))
    if "attribution" not in node:
        msg = f"{path} is a Zarr group without an array named 'attribution'"
        raise MatrixError(msg)
    opened = open_attribution(path)
    matrix = as_matrix(opened.matrix, row_ids=opened.row_ids, validation_ids=opened.validation_ids)
    return LabelledMatrix(
        matrix,
        tasks=tuple(opened.tasks),
        subtasks=tuple(opened.subtasks),
        capabilities=tuple(opened.capabilities),
        checkpoints=tuple(
            node[f"checkpoint_{c}"]
            for c in range(len(opened.checkpoint_weights))
            if f"checkpoint_{c}" in node
        ),
        checkpoint_weights=tuple(opened.checkpoint_weights),
    )


def _read_table(path: Path) -> LabelledMatrix:
    frame = read_frame(path)
    row_ids = [str(name) for name in frame.pop(ROW_ID)] if ROW_ID in frame else None
    wrong = [str(name) for name in frame if frame[name].dtype.kind not in "iuf"]
    if wrong:
        msg = (
            f"column {wrong[0]!r} of {path} does not hold numbers; every column but `row_id` is a "
            "validation instance"
        )
        raise MatrixError(msg)
    values = np.ascontiguousarray(frame.to_numpy())
    names = [str(name) for name in frame.columns]
    return LabelledMatrix(as_matrix(values, row_ids=row_ids, validation_ids=names))


def read_frame(path: Path) -> pd.DataFrame:
    """Read a `.parquet` or `.csv` file.

    Raises:
        UserError: it is not there or damaged.
    """
    import pandas as pd

    try:
        return pd.read_csv(path) if path.suffix.lower() == ".csv" else pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's and pandas' own errors are among these
        msg = f"{path} can not be read as a table: {error}"
        raise UserError(msg) from error


def with_labels(labelled: LabelledMatrix, path: Path, *, of: str = "tasks") -> LabelledMatrix:
    """Add the labels of a file to a matrix.

    Args:
        labelled: the matrix.
        path: `.txt`: one name a line, in the order of the columns (rows, for sources). `.json`: a
            list in that order, or an object that maps the validation (row) id to the name.
            `.csv` or `.parquet`: a column `validation_id` (`row_id`) and a column `task`
            (`source`); further columns `subtask` and `capability` are read too. Where the matrix
            names nothing, ids are the numbers 0, 1, ...
        of: `tasks` or `sources`.

    Raises:
        UserError: the file can not be read, or does not fit the matrix.
    """
    matrix = labelled.matrix
    if of == "tasks":
        known, count, key = matrix.validation_ids, matrix.n_columns, VALIDATION_ID
    else:
        known, count, key = matrix.row_ids, matrix.n_rows, ROW_ID
    ids = [str(place) for place in range(count)] if known is None else list(known)
    found: dict[str, Any] = {}
    suffix = path.suffix.lower()
    if suffix in (".csv", ".parquet"):
        found = _labels_of_table(path, ids, key=key, of=of)
    else:
        listed = read_json(path) if suffix == ".json" else read_lines(path)
        names = _mapped(listed, ids, path, key) if isinstance(listed, dict) else listed
        found[of] = names
    for kind, names in found.items():
        if len(names) != count:
            what = "columns" if of == "tasks" else "rows"
            msg = f"{path} has {len(names)} {kind} but the matrix has {count} {what}"
            raise UserError(msg)
    changes: dict[str, Any] = {kind: tuple(map(str, names)) for kind, names in found.items()}
    return replace(labelled, **changes)


def _labels_of_table(path: Path, ids: Sequence[str], *, key: str, of: str) -> dict[str, Any]:
    frame = read_frame(path)
    columns = {"tasks": "task", "sources": "source"}
    for needed in (key, columns[of]):
        if needed not in frame:
            msg = f"{path} has no column {needed!r} (it has {', '.join(map(str, frame))})"
            raise UserError(msg)
    names = {of: columns[of]}
    if of == "tasks":
        names |= {"subtasks": "subtask", "capabilities": "capability"}
    keys = frame[key].astype(str)
    return {
        kind: _mapped(dict(zip(keys, frame[name], strict=True)), ids, path, key)
        for kind, name in names.items()
        if name in frame
    }


def _mapped(mapping: dict[str, Any], ids: Sequence[str], path: Path, key: str) -> list[Any]:
    missing = [name for name in ids if name not in mapping]
    if missing:
        msg = f"{path} names no label for {key} {missing[0]!r} ({len(missing)} are missing)"
        raise UserError(msg)
    return [mapping[name] for name in ids]


def read_json(path: Path) -> Any:
    """Return the list or object of a JSON file.

    Raises:
        UserError: it can not be read, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{path} can not be read as JSON: {error}"
        raise UserError(msg) from error
    if not isinstance(value, list | dict):
        msg = f"{path} must hold a list of names or an object that maps ids to names"
        raise UserError(msg)
    return value


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file; blank lines at its end do not count."""
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} can not be read as text: {error}"
        raise UserError(msg) from error
    return [line.strip() for line in lines]
