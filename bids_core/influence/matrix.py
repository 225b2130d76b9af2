"""Read access to an attribution matrix in memory or on disk, in row blocks.

Everything downstream (normalisation, selection, diagnostics) reads the matrix through this class,
so a numpy array, a torch tensor, a memory map and a Zarr array behave alike. Shapes: N training
rows, M validation instances (columns), R rows of one block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from bids_core.errors import MatrixError
from bids_core.formatting import brief

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MatrixLike: TypeAlias = Any
"""What `as_matrix` takes: numpy array, torch tensor, Zarr array, pandas frame or `Matrix`."""

RESIDENT_BYTES: Final = 2 << 30
"""A Zarr array up to this size is read into memory; a larger one stays on disk."""
_BLOCK_BYTES: Final = 1 << 20
"""float64 bytes of one block: fits the second-level cache of common processors."""
_SLAB_BYTES: Final = 1 << 26
"""Bytes read from disk at a time."""
_ROW_OF_CHUNKS: Final = 4 << 30
"""Largest amount that can only be read together: the chunks that hold one row."""


@dataclass(frozen=True)
class Matrix:
    """An attribution matrix and, if known, the names of its rows and columns.

    Args:
        values: [N, M] numpy array, or Zarr array that stays on disk.
        row_ids: N names, for messages.
        validation_ids: M names, for messages.
        cache_bytes: memory that a selection may use for rows of a matrix on disk; None: 2 GiB.
    """

    values: MatrixLike
    row_ids: Sequence[str] | None = None
    validation_ids: Sequence[str] | None = None
    cache_bytes: int | None = None

    @property
    def n_rows(self) -> int:
        """Number of training rows N."""
        return int(self.values.shape[0])

    @property
    def n_columns(self) -> int:
        """Number of validation instances M."""
        return int(self.values.shape[1])

    @property
    def resident(self) -> bool:
        """Whether a single row can be read without reading a whole chunk from disk."""
        return isinstance(self.values, np.ndarray)

    def blocks(self) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield (index of the first row, [R, M] block) over all rows in order."""
        rows = max(1, _BLOCK_BYTES // (8 * self.n_columns))
        for start, slab in self.slabs():
            for offset in range(0, len(slab), rows):
                yield start + offset, slab[offset : offset + rows]

    def slabs(self) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield (index of the first row, rows) in pieces that fit in memory, aligned to chunks."""
        if self.resident:
            yield 0, self.values
            return
        rows = max(1, _SLAB_BYTES // (self.values.dtype.itemsize * self.n_columns))
        chunk = int(self.values.chunks[0])
        rows = max(chunk, rows // chunk * chunk)
        for start in range(0, self.n_rows, rows):
            yield start, self._from_disk(slice(start, start + rows))

    def row(self, index: int) -> npt.NDArray[Any]:
        """Return one row [M]; cheap only if the matrix is resident."""
        return self._from_disk(index)

    def take(self, rows: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return some rows.

        Args:
            rows: [B] row indices in any order.

        Returns:
            [B, M] array in the matrix's own dtype.
        """
        wanted = np.asarray(rows, dtype=np.int64)
        if self.resident:
            return np.asarray(self.values[wanted])
        order = np.argsort(wanted, kind="stable")
        found = np.empty((len(wanted), self.n_columns), dtype=self.values.dtype)
        chunk = int(self.values.chunks[0])
        edges = np.flatnonzero(np.diff(wanted[order] // chunk)) + 1
        for group in np.split(order, edges):
            if len(group):
                first = int(wanted[group[0]]) // chunk * chunk
                rows = self._from_disk(slice(first, first + chunk))
                found[group] = rows[wanted[group] - first]
        return found

    def _from_disk(self, rows: slice | int) -> npt.NDArray[Any]:
        try:
            return np.asarray(self.values[rows])
        except (OSError, ValueError, RuntimeError) as error:  # of Zarr and of its codecs
            msg = f"rows of the matrix cannot be read: {brief(error) or type(error).__name__}"
            raise MatrixError(msg) from error

    def column_name(self, column: int) -> str:
        """Return a column's name for messages."""
        if self.validation_ids is None:
            return f"column {column}"
        return f"column {column} ({brief(repr(self.validation_ids[column]))})"

    def row_name(self, row: int) -> str:
        """Return a row's name for messages."""
        if self.row_ids is None:
            return f"row {row}"
        return f"row {row} ({brief(repr(self.row_ids[row]))})"

    def refuse_nonfinite(self) -> None:
        """Raise at the first entry that is NaN or infinite.

        Raises:
            MatrixError: there is one; the message names its row and column.
        """
        for start, block in self.blocks():
            finite = np.isfinite(block)
            if not finite.all():
                row, column = np.argwhere(~finite)[0]
                msg = (
                    f"the matrix holds {block[row, column]} in {self.row_name(start + int(row))}, "
                    f"{self.column_name(int(column))}: every entry must be finite; remove the row "
                    "or the column, or recompute it"
                )
                raise MatrixError(msg)


def finite_values(values: MatrixLike) -> npt.NDArray[np.float64]:
    """Return a whole matrix in memory, float64, every entry finite.

    Args:
        values: [N, M], as `as_matrix` takes it.

    Raises:
        MatrixError: it is not a matrix of numbers, or an entry is not finite.
    """
    matrix = as_matrix(values)
    matrix.refuse_nonfinite()
    found: npt.NDArray[np.float64] = matrix.take(np.arange(matrix.n_rows)).astype(np.float64)
    return found


def as_matrix(
    attribution: MatrixLike,
    *,
    row_ids: Sequence[str] | None = None,
    validation_ids: Sequence[str] | None = None,
    resident_bytes: int = RESIDENT_BYTES,
    cache_bytes: int | None = None,
) -> Matrix:
    """Wrap an attribution matrix, checking its shape and type.

    Args:
        attribution: [N, M] numpy array, torch tensor, Zarr array, pandas frame, or a `Matrix`.
        row_ids: N names of the rows, used in messages only.
        validation_ids: M names of the columns, used in messages only.
        resident_bytes: a Zarr array up to this size is read into memory; a `Matrix` stays as it is.
        cache_bytes: memory that a selection may use for rows of a matrix on disk; None: 2 GiB, or
            the value that a `Matrix` has.

    Returns:
        The matrix, ready to be read.

    Raises:
        MatrixError: it is not a two-dimensional array of numbers with at least one entry, or the
            names do not match its shape.
    """
    values = attribution.values if isinstance(attribution, Matrix) else _as_array(attribution)
    if isinstance(attribution, Matrix):
        known = attribution.row_ids, attribution.validation_ids
        cache_bytes = attribution.cache_bytes if cache_bytes is None else cache_bytes
    elif hasattr(attribution, "columns") and hasattr(attribution, "index"):  # a pandas frame
        known = [str(n) for n in attribution.index], [str(n) for n in attribution.columns]
    else:
        known = None, None
    row_ids = known[0] if row_ids is None else row_ids
    validation_ids = known[1] if validation_ids is None else validation_ids
    shape = tuple(int(length) for length in values.shape)
    if len(shape) != 2 or 0 in shape:
        msg = (
            f"the attribution matrix has shape {shape}; it must be [training rows, validation "
            "instances] with at least one of each"
        )
        raise MatrixError(msg)
    if values.dtype.kind not in "iuf":
        msg = f"the attribution matrix has dtype {values.dtype}; it must hold real numbers"
        raise MatrixError(msg)
    for names, length, kind in ((row_ids, shape[0], "row"), (validation_ids, shape[1], "column")):
        if names is not None and len(names) != length:
            msg = (
                f"{len(names)} {kind} names were given for a matrix with {length} {kind}s; "
                "give one for each"
            )
            raise MatrixError(msg)
    loadable = not isinstance(attribution, Matrix) and not isinstance(values, np.ndarray)
    if loadable and shape[0] * shape[1] * values.dtype.itemsize <= resident_bytes:
        values = np.asarray(values[:])
    elif loadable and (together := values.chunks[0] * shape[1] * values.dtype.itemsize) > (
        _ROW_OF_CHUNKS
    ):
        msg = (
            f"chunks {values.chunks} of the attribution matrix make one row cost {together:,} "
            f"bytes of reading, more than {_ROW_OF_CHUNKS:,}; write it in chunks of fewer "
            "rows"
        )
        raise MatrixError(msg)
    return Matrix(values, row_ids=row_ids, validation_ids=validation_ids, cache_bytes=cache_bytes)


def _as_array(attribution: MatrixLike) -> MatrixLike:
    if isinstance(attribution, np.ndarray) or type(attribution).__module__.startswith("zarr."):
        return attribution
    if hasattr(attribution, "detach"):  # a torch tensor; torch itself is not imported here
        tensor = attribution.detach().cpu()
        return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    try:
        return np.asarray(attribution)
    except ValueError as error:  # rows of different lengths
        msg = "the attribution matrix cannot be read as an array: its rows differ in length"
        raise MatrixError(msg) from error
