"""The attribution matrix as it is stored: a Zarr group with the names of its rows and columns.

    attribution      [N, M] float32
    row_ids          [N] train rows
    validation_ids   [M]; also tasks, capabilities, subtasks
    checkpoint_0...  [N, M] float32, each checkpoint's own influence, if it was kept
    expected_error   [N] float32, in an inferred matrix
    landmark         [N] int64, likewise: the row whose influence a row takes

Shapes: N train, M validation, C checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import zarr

from bids_core.data import bounded_array, open_zarr_group
from bids_core.errors import ArtifactError, MatrixError
from bids_core.formatting import brief
from bids_core.gradients.store import write_array

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Floats = npt.NDArray[np.float32]

ERROR: Final = "expected_error"
LANDMARK: Final = "landmark"
LABELS: Final = ("validation_ids", "tasks", "capabilities", "subtasks")
"""Labels of each column."""


def new_group(
    out: Path,
    row_ids: list[str],
    labels: dict[str, list[str]],
    weights: Sequence[float] | Floats,
    attributes: Mapping[str, Any],
) -> zarr.Group:
    """Make the group of a matrix, with the names of its rows and columns.

    Args:
        out: the group; must not exist.
        row_ids: [N].
        labels: [M] values of each of `LABELS`.
        weights: [C] checkpoint weights.
        attributes: further attributes to store, JSON-serialisable.

    Raises:
        MatrixError: the numbers of labels differ.
    """
    lengths = {name: len(values) for name, values in labels.items()}
    if len(set(lengths.values())) != 1:
        msg = f"validation rows and their labels differ in number: {lengths}"
        raise MatrixError(msg)
    group = zarr.open_group(out, mode="w-", zarr_format=3)
    group.attrs.update({"checkpoint_weights": [float(w) for w in weights], **attributes})
    write_array(group, "row_ids", row_ids, dimensions=("train",))
    for name, values in labels.items():
        write_array(group, name, values, dimensions=("validation",))
    return group


@dataclass(frozen=True)
class Attribution:
    """An attribution matrix with the names of its rows and columns.

    Args:
        matrix: [N, M] float32 Zarr array; read it by slices, or whole with `matrix[:]`.
        row_ids: [N] train rows.
        validation_ids: [M].
        tasks: [M] task of each validation instance.
        capabilities: [M].
        subtasks: [M], "" where there is none.
        checkpoint_weights: [C], as they were used.
        parts: the checkpoints' own [N, M] arrays, if they were kept.
        checkpoint_numbers: [C], their numbers among the warmup's checkpoints, from 1.
        pool_rows: size of the pool; more than N if rows were screened out.
        expected_error: [N], in an inferred matrix (`bids_core.influence.landmarks`): how far off a
            row's entries are expected to be, in standard deviations of the columns; 0 for the
            landmarks. None if every row was computed.
        landmark: [N], in an inferred matrix: the row whose influence each row takes. None if every
            row was computed, and in matrices of earlier versions.
    """

    matrix: zarr.Array[Any]
    row_ids: list[str]
    validation_ids: list[str]
    tasks: list[str]
    capabilities: list[str]
    subtasks: list[str]
    checkpoint_weights: list[float]
    parts: tuple[zarr.Array[Any], ...] = ()
    checkpoint_numbers: tuple[int, ...] = ()
    pool_rows: int = 0
    expected_error: Floats | None = None
    landmark: npt.NDArray[np.int64] | None = None

    @property
    def screened(self) -> bool:
        """Whether rows of the pool are missing because screening left them without gradients."""
        return self.pool_rows > len(self.row_ids)

    def values(self) -> Floats:
        """Return the whole matrix, [N, M] float32.

        Raises:
            ArtifactError: a chunk is lost or damaged.
        """
        return _read(self.matrix)

    def checkpoints(self) -> Floats:
        """Return each checkpoint's cosines, [C, N, M] float32.

        Raises:
            MatrixError: they were not kept.
            ArtifactError: a chunk is lost or damaged.
        """
        if not self.parts:
            msg = (
                "the influence of single checkpoints was not kept; compute it with keep_checkpoints"
            )
            raise MatrixError(msg)
        return np.stack([_read(part) for part in self.parts])


def open_attribution(folder: str | Path) -> Attribution:
    """Open what `stream_influence` wrote.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    folder = Path(folder)
    try:
        group = open_zarr_group(folder)
        names = [
            [str(v) for v in np.asarray(bounded_array(group[n])[:])] for n in ("row_ids", *LABELS)
        ]
        matrix = bounded_array(group["attribution"])
        weights = [float(str(w)) for w in group.attrs["checkpoint_weights"]]
        kept = takewhile(group.__contains__, (f"checkpoint_{c}" for c in range(len(weights))))
        parts = tuple(bounded_array(group[part]) for part in kept)
        counted = list(range(1, len(weights) + 1))
        numbers = tuple(int(str(n)) for n in group.attrs.get("checkpoint_numbers", counted))
        pool_rows = int(str(group.attrs.get("pool_rows", len(names[0]))))
        off = _read(bounded_array(group[ERROR])) if ERROR in group else None
        taken = _rows(group[LANDMARK], len(names[0])) if LANDMARK in group else None
        if not all(all(labels) for labels in names[:-1]):  # only subtasks may be empty
            raise _missing("names")
    except (OSError, KeyError, ValueError, TypeError) as error:
        msg = f"attribution matrix {folder} cannot be read ({brief(error)}); run the stage again"
        raise ArtifactError(msg) from error
    row_ids, validation_ids, tasks, capabilities, subtasks = names
    return Attribution(
        matrix, row_ids, validation_ids, tasks, capabilities, subtasks, weights, parts, numbers,
        pool_rows, off, taken,
    )  # fmt: skip


def _rows(node: Any, n_rows: int) -> npt.NDArray[np.int64]:
    """Return the [N] row numbers.

    Raises:
        ValueError: a number is not a row of the matrix.
    """
    rows = np.asarray(bounded_array(node)[:])
    if rows.shape != (n_rows,) or rows.dtype.kind not in "iu":
        msg = f"{LANDMARK} must be {n_rows} row numbers, not {rows.dtype} of shape {rows.shape}"
        raise ValueError(msg)
    if n_rows and not (rows.min() >= 0 and rows.max() < n_rows):
        msg = f"{LANDMARK} names a row beyond the matrix"
        raise ValueError(msg)
    return rows.astype(np.int64)


def _read(array: zarr.Array[Any]) -> Floats:
    try:
        values: Floats = np.asarray(array[:])
    except (OSError, ValueError) as error:
        msg = f"the attribution matrix cannot be read ({brief(error)}); run the stage again"
        raise ArtifactError(msg) from error
    if not np.isfinite(values).all():
        raise _missing("values")
    return values


def _missing(what: str) -> ArtifactError:
    return ArtifactError(f"some {what} of the attribution matrix are missing; run the stage again")
