"""The gradient store: shards of unit rows in Zarr v3, and the ordered list of them.

A shard is one Zarr group, written by one process and published whole with its artifact:
    projected_gradients  [rows, P] float16, float32 or int8, unit rows
    scales               [rows] float32, for int8 only: a row is its scale times the integers
    norms                [rows] float32, lengths of the rows before they were scaled to one
    losses               [rows] float32, mean completion loss of each example
    row_ids              [rows] strings
Every chunk carries a crc32c, and a missing chunk reads as NaN (for int8 as -128, a value that is
never stored), so that neither a damaged nor a missing chunk is taken for data. The store of one
(checkpoint, split) is a list of shard folders.

Shapes: N rows of all shards, P projected, b rows of a block.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import Crc32cCodec

from bids_core.artifacts.files import is_full
from bids_core.data import bounded_array, open_zarr_group
from bids_core.errors import ArtifactError, DataError, NonFiniteError
from bids_core.formatting import brief

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import torch

    from bids_core.gradients.features import Features

Storage = Literal["float16", "float32", "int8"]
Floats = npt.NDArray[np.float32]

GRADIENTS: Final = "projected_gradients"
_LOST_INT8: Final = -128
_CHUNK_BYTES: Final = 8 << 20  # small enough that malloc keeps the memory between reads


def write_shard(
    folder: Path,
    features: Features,
    *,
    storage: Storage = "float16",
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Write one shard.

    Args:
        folder: the Zarr group to make; must be missing or empty.
        features: what `compute_features` returned.
        storage: dtype of the unit rows.
        attributes: further attributes to store, JSON-serialisable.

    Raises:
        DataError: a feature is zero and has no direction.
        NonFiniteError: a feature is NaN or infinite.
        ArtifactError: the disk is full.
    """
    unit_rows = unit(features.values.numpy(), row_ids=features.row_ids)
    scales = _scales(unit_rows) if storage == "int8" else None
    stored = unit_rows if scales is None else np.rint(unit_rows / scales[:, None])
    stored = stored.astype(storage)
    try:
        _write(folder, stored, scales, features, {"storage": storage, **(attributes or {})})
    except Exception as error:
        if not is_full(error):
            raise  # other I/O errors may be temporary: the caller tries again
        msg = (
            f"the disk is full: gradient shard {folder} takes {stored.nbytes:,} bytes; free "
            "some space, or lower gradients.dim or gradients.rows_per_shard, and run again"
        )
        raise ArtifactError(msg) from error


def _scales(unit_rows: Floats) -> Floats:
    """Return the value of one int8 step in each row: its largest absolute entry over 127."""
    scales: Floats = np.abs(unit_rows).max(axis=1) / 127
    return scales


def _write(
    folder: Path,
    stored: npt.NDArray[Any],
    scales: Floats | None,
    features: Features,
    attributes: Mapping[str, Any],
) -> None:
    group = zarr.open_group(folder, mode="w-", zarr_format=3)
    group.attrs.update(dict(attributes))
    rows = max(1, min(len(stored), _CHUNK_BYTES // (stored.shape[1] * stored.itemsize)))
    write_array(group, GRADIENTS, stored, chunk_rows=rows, dimensions=("row", "projected"))
    if scales is not None:
        write_array(group, "scales", scales, dimensions=("row",))
    for name, column in (("norms", features.norms), ("losses", features.losses)):
        write_array(group, name, _float32(column), dimensions=("row",))
    write_array(group, "row_ids", features.row_ids, dimensions=("row",))


def open_store(folders: Sequence[Path]) -> GradientStore:
    """Open the shards of one (checkpoint, split), in the given order.

    Raises:
        ArtifactError: a shard is missing or damaged, or the shards do not fit together.
    """
    return GradientStore([StoredShard.open(folder) for folder in folders])


def unit(values: Floats, *, row_ids: Sequence[str]) -> Floats:
    """Return the rows scaled to length one.

    Args:
        values: [n, P].
        row_ids: their names, for the error.

    Raises:
        DataError: a row is zero.
        NonFiniteError: a row is NaN or infinite.
    """
    norms = np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
    for bad, error, what in (
        (~np.isfinite(norms[:, 0]), NonFiniteError, "NaN or infinite"),
        (norms[:, 0] == 0, DataError, "zero, so they have no direction"),
    ):
        if bad.any():
            named = ", ".join(repr(row_ids[i]) for i in np.flatnonzero(bad)[:10])
            msg = f"the gradient features of {int(bad.sum())} rows are {what}: {named}"
            raise error(msg)
    scaled: Floats = (values / norms).astype(np.float32)
    return scaled


def write_array(
    group: zarr.Group,
    name: str,
    values: npt.NDArray[Any] | Sequence[str],
    *,
    dimensions: tuple[str, ...],
    chunk_rows: int | None = None,
) -> None:
    """Write an array with a checksum on every chunk; a missing chunk reads as `_lost`."""
    is_text = not isinstance(values, np.ndarray)
    array = np.asarray(values, dtype=np.dtypes.StringDType() if is_text else None)
    target = create_array(
        group,
        name,
        shape=array.shape,
        dtype=str if is_text else array.dtype,
        dimensions=dimensions, chunk_rows=chunk_rows,
    )  # fmt: skip
    target[...] = array


def create_array(
    group: zarr.Group,
    name: str,
    *,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    dimensions: tuple[str, ...],
    chunk_rows: int | None = None,
) -> zarr.Array[Any]:
    """Make an empty array like those of `write_array`, to be filled in parts."""
    return group.create_array(
        name,
        shape=shape,
        chunks=(max(1, chunk_rows or shape[0]), *(max(1, size) for size in shape[1:])),
        dtype=dtype,
        filters=None,
        compressors=[Crc32cCodec()],
        fill_value=_lost(dtype),
        dimension_names=dimensions,
        config={"write_empty_chunks": True},
    )


def _lost(dtype: npt.DTypeLike) -> object:
    """Return the value that a missing chunk reads as; none of our arrays stores it."""
    if dtype is str:
        return ""
    kind = np.dtype(dtype)
    return int(np.iinfo(kind).min) if kind.kind == "i" else np.nan


@dataclass(frozen=True)
class StoredShard:
    """One open shard; its arrays are read when asked for."""

    folder: Path
    group: zarr.Group
    row_ids: list[str]
    dim: int

    @classmethod
    def open(cls, folder: Path) -> StoredShard:
        """Open a shard and check that its arrays match."""
        try:
            group = open_zarr_group(folder)
            row_ids = [str(row_id) for row_id in np.asarray(bounded_array(group["row_ids"])[:])]
            shape = bounded_array(group[GRADIENTS]).shape
            sizes = {len(row_ids), shape[0], group["norms"].shape[0]}
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise _damaged(folder, error) from error
        if len(sizes) != 1 or not all(row_ids):
            raise _damaged(folder, "its arrays differ in length or lack row ids")
        return cls(folder, group, row_ids, int(shape[1]))

    def rows(self, start: int, stop: int) -> Floats:
        """Return unit rows, [stop - start, P] float32.

        Raises:
            ArtifactError: a chunk is lost or damaged.
        """
        stored = self._read(GRADIENTS, start, stop)
        lost = stored[:, 0] == _LOST_INT8 if stored.dtype == np.int8 else np.isnan(stored[:, 0])
        if lost.any():
            raise _damaged(self.folder, f"a chunk of rows {start}..{stop} is missing")
        rows = stored.astype(np.float32, copy=False)
        if stored.dtype == np.int8:
            rows *= self.column("scales")[start:stop, None]
        return rows

    def column(self, name: str) -> Floats:
        """Return `norms`, `losses` or `scales`, [rows] float32.

        Raises:
            ArtifactError: it is missing or damaged.
        """
        values = self._read(name, 0, len(self.row_ids)).astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise _damaged(self.folder, f"a chunk of {name} is missing")
        return values

    def _read(self, name: str, start: int, stop: int) -> npt.NDArray[Any]:
        try:
            return np.asarray(bounded_array(self.group[name])[start:stop])
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise _damaged(self.folder, error) from error


class GradientStore:
    """The unit rows of one (checkpoint, split), over all its shards.

    Args:
        shards: in order, all of the same dimension, with no row id twice.
    """

    def __init__(self, shards: Sequence[StoredShard]) -> None:
        if not shards:
            msg = "a gradient store needs at least one shard"
            raise ArtifactError(msg)
        self.shards = list(shards)
        dims = {shard.dim for shard in shards}
        if len(dims) > 1:
            msg = (
                f"shards of one store have different dimensions {sorted(dims)}; compute them again"
            )
            raise ArtifactError(msg)
        self.dim = dims.pop()
        twice = [row_id for row_id, count in Counter(self.row_ids).items() if count > 1]
        if twice:
            msg = f"row {twice[0]!r} is in the gradient store more than once"
            raise ArtifactError(msg)

    @cached_property
    def row_ids(self) -> list[str]:
        """Ids of all rows, in order."""
        return [row_id for shard in self.shards for row_id in shard.row_ids]

    @property
    def n_rows(self) -> int:
        """Number of rows N."""
        return len(self.row_ids)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, P). With `dtype`, `chunks` and slices, the rows can be read like a Zarr array."""
        return self.n_rows, self.dim

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Dtype of the rows as returned, whatever they are stored as."""
        return np.dtype(np.float32)

    @property
    def chunks(self) -> tuple[int, int]:
        """How many rows to read together, and P."""
        return max(1, _CHUNK_BYTES // (4 * self.dim)), self.dim

    def __getitem__(self, rows: slice) -> Floats:
        start, stop, _ = rows.indices(self.n_rows)
        return self.rows(start, stop)

    @property
    def norms(self) -> Floats:
        """[N] float32, lengths of the projected features."""
        return np.concatenate([shard.column("norms") for shard in self.shards])

    @property
    def losses(self) -> Floats:
        """[N] float32, mean completion losses."""
        return np.concatenate([shard.column("losses") for shard in self.shards])

    def blocks(self, max_rows: int) -> Iterator[tuple[int, Floats]]:
        """Yield (index of the first row, unit rows [b, P] float32), b at most `max_rows`."""
        for start in range(0, self.n_rows, max_rows):
            yield start, self.rows(start, min(start + max_rows, self.n_rows))

    def rows(self, start: int, stop: int) -> Floats:
        """Return unit rows, [stop - start, P] float32, from all the shards they span.

        Raises:
            ArtifactError: a chunk is lost or damaged.
        """
        parts = [np.empty((0, self.dim), dtype=np.float32)]
        first = 0
        for shard in self.shards:
            low, high = max(start - first, 0), min(stop - first, len(shard.row_ids))
            if low < high:
                parts.append(shard.rows(low, high))
            first += len(shard.row_ids)
        return parts[1] if len(parts) == 2 else np.concatenate(parts)

    def to_xarray(self) -> Any:
        """Return all shards as one lazily read `xarray.Dataset`."""
        import xarray as xr

        parts = [
            xr.open_zarr(shard.folder, consolidated=False, chunks=None) for shard in self.shards
        ]
        return xr.concat(parts, dim="row") if len(parts) > 1 else parts[0]


def _damaged(folder: Path, why: object) -> ArtifactError:
    return ArtifactError(
        f"gradient shard {folder} cannot be read ({brief(why)}); run the stage again"
    )


def _float32(column: torch.Tensor) -> Floats:
    values: Floats = column.numpy().astype(np.float32)
    return values
