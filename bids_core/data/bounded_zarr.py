"""Untrusted Zarr arrays, with limits on the sizes they claim and on what chunks decompress to.

A few hundred bytes of metadata can claim a shape, a chunk or a number of chunks that fits into no
memory, and a chunk of a few kilobytes can decompress to any size. Claims are checked against the
files before a chunk is read, and no chunk decompresses to more than its region of the array.
"""

from __future__ import annotations

import asyncio
import bz2
import gzip
import io
import lzma
import math
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numcodecs.abc
import numcodecs.blosc
import numcodecs.lz4
import zarr
import zarr.codecs
from zarr.abc.codec import BytesBytesCodec

from bids_core.formatting import brief

if TYPE_CHECKING:
    from collections.abc import Callable

    from zarr.abc.codec import Codec

_METADATA_BYTES: Final = 1 << 24
_SMALL_BYTES: Final = 1 << 30
_MOST_TIMES: Final = 1000
"""Highest ratio of an array's size to that of its files; real numbers never compress so well."""
_CHUNK_BYTES: Final = 1 << 31  # the most that Blosc, Zarr's default codec, can write
_SMALL_CHUNKS: Final = 10_000
_BYTES_A_CHUNK: Final = 64  # stored; smaller chunks cost more to keep track of than to store
_TEXT_BYTES: Final = 1 << 26  # of a chunk of texts, whose size does not follow from its shape
_TEXT_TIMES: Final = 200
_SLACK: Final = 64  # room for checksums


class OverLimit(ValueError):
    """An array claims more than its files hold, or more than may be read."""


def open_zarr(path: Path) -> Any:
    """Open a Zarr array or group; read a group's arrays through `bounded_array`.

    Raises:
        ValueError: it is over a limit. For invalid metadata Zarr raises many other types.
    """
    for name in ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"):
        size = (path / name).stat().st_size if (path / name).is_file() else 0
        if size > _METADATA_BYTES:
            msg = f"{name} is {size:,} bytes long, more than {_METADATA_BYTES:,}"
            raise OverLimit(msg)
    node = zarr.open(path, mode="r")
    return bounded_array(node) if isinstance(node, zarr.Array) else node


def open_zarr_group(path: Path) -> Any:
    """Open a Zarr group, as `open_zarr` does.

    Raises:
        ValueError: it is over a limit, or an array.
    """
    node = open_zarr(path)
    if not isinstance(node, zarr.Group):
        msg = "there is an array where a group is expected"
        raise OverLimit(msg)
    return node


def bounded_array(array: Any) -> zarr.Array[Any]:
    """Return an array whose chunks decompress to no more than their regions of it.

    Args:
        array: a local array, as obtained from a group.

    Raises:
        ValueError: it is not an array, claims more than its files hold, or uses a codec that cannot
            be bounded.
    """
    if not isinstance(array, zarr.Array):
        msg = "there is a group where an array is expected"
        raise OverLimit(msg)
    _require_stored(array)
    metadata: Any = array.metadata
    if array.metadata.zarr_format == 2:
        changes: dict[str, Any] = {"compressor": _bounded_v2(array), "filters": None}
    else:
        changes = {"codecs": tuple(_bounded_v3(codec) for codec in metadata.codecs)}
    inner: Any = zarr.AsyncArray(
        metadata=replace(metadata, **changes),
        store_path=array.store_path,
        config=array.async_array.config,
    )
    return zarr.Array(inner)


def _require_stored(array: zarr.Array[Any]) -> None:
    """Raise if an array claims too much: Zarr fills in missing chunks without limit."""
    folder = Path(str(getattr(array.store, "root", ""))) / array.path
    stored = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    item, grid = array.dtype.itemsize, array.shards or array.chunks
    if array.dtype.kind in "OT":  # texts: a reference each, plus the fill value for missing ones
        item += len(str(array.fill_value))
    pieces = [
        math.ceil(length / max(step, 1)) for length, step in zip(array.shape, grid, strict=True)
    ]
    whole = math.prod(n * step for n, step in zip(pieces, grid, strict=True)) * item
    if max(whole, array.nbytes) > max(_SMALL_BYTES, _MOST_TIMES * stored):
        msg = (
            f"it claims the shape {array.shape} in chunks of {grid}, {whole:,} bytes, but its "
            f"files hold {stored:,}; write all its chunks"
        )
        raise OverLimit(msg)
    inner = [step // max(c, 1) for step, c in zip(grid, array.chunks, strict=True)]
    chunks = math.prod(pieces) * math.prod(inner)
    if chunks > max(_SMALL_CHUNKS, stored // _BYTES_A_CHUNK):
        msg = (
            f"it claims {chunks:,} chunks, but its files hold {stored:,} bytes; write it in "
            "larger chunks"
        )
        raise OverLimit(msg)
    if math.prod(grid) * item > _CHUNK_BYTES:
        msg = f"its chunks {grid} are larger than {_CHUNK_BYTES:,} bytes; write it in smaller ones"
        raise OverLimit(msg)


def unpack(codec: str, data: bytes, limit: int) -> bytes:
    """Decompress a chunk.

    Args:
        codec: name of its codec.
        data: the chunk.
        limit: most bytes it may decompress to.

    Raises:
        OverLimit: it decompresses to more.
        ValueError: it is damaged.
    """
    try:
        found = _UNPACK[codec](data, limit)
    except (
        OSError,
        EOFError,
        RuntimeError,
        zlib.error,
        lzma.LZMAError,
    ) as error:
        msg = f"a chunk is damaged ({brief(error)})"
        raise ValueError(msg) from error
    if len(found) > limit:
        raise _too_much(data, limit)
    return found


def _too_much(data: bytes, limit: int) -> OverLimit:
    return OverLimit(
        f"a chunk of {len(data):,} bytes unpacks to more than the {limit:,} bytes of its region"
    )


def _claimed(data: bytes, at: int, limit: int, decode: Callable[[bytes], Any]) -> bytes:
    """Decompress data that states its size in four bytes, which the codec enforces."""
    if int.from_bytes(data[at : at + 4], "little") > limit:
        raise _too_much(data, limit)
    return bytes(decode(data))


def _zstd(data: bytes, limit: int) -> bytes:
    import zstandard  # imported here, as our own arrays are not compressed

    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True)
    try:
        return reader.read(limit + 1)
    except zstandard.ZstdError as error:
        raise OSError(str(error)) from error


def _gzip(data: bytes, limit: int) -> bytes:
    return gzip.GzipFile(fileobj=io.BytesIO(data)).read(limit + 1)


_UNPACK: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "zstd": _zstd,
    "gzip": _gzip,
    "zlib": lambda data, limit: zlib.decompressobj().decompress(data, limit + 1),
    "bz2": lambda data, limit: bz2.BZ2Decompressor().decompress(data, limit + 1),
    "lzma": lambda data, limit: lzma.LZMADecompressor().decompress(data, limit + 1),
    "blosc": lambda data, limit: _claimed(data, 4, limit, numcodecs.blosc.decompress),
    "lz4": lambda data, limit: _claimed(data, 0, limit, numcodecs.lz4.decompress),
}


@dataclass(frozen=True)
class _Bounded(BytesBytesCodec):
    """A Zarr 3 codec that decompresses to at most a chunk's size."""

    inner: BytesBytesCodec
    name: str
    is_fixed_size = False

    def to_dict(self) -> dict[str, Any]:
        return self.inner.to_dict()

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        data = chunk_bytes.to_bytes()
        dtype = chunk_spec.dtype.to_native_dtype()
        limit = _SLACK + math.prod(chunk_spec.shape) * dtype.itemsize
        if dtype.kind in "OT":
            limit = max(_TEXT_BYTES, _TEXT_TIMES * len(data))
        found = await asyncio.to_thread(unpack, self.name, data, limit)
        return chunk_spec.prototype.buffer.from_bytes(found)

    def compute_encoded_size(self, input_byte_length: int, _chunk_spec: Any) -> int:
        raise NotImplementedError


def _bounded_v3(codec: Codec, *, within: bool = False) -> Codec:
    known = zarr.codecs
    if isinstance(codec, known.ShardingCodec) and not within:
        for of_index in codec.index_codecs:
            if not isinstance(of_index, known.BytesCodec | known.Crc32cCodec):
                raise _not_read(of_index)
        inner = tuple(_bounded_v3(one, within=True) for one in codec.codecs)
        return replace(codec, codecs=inner)
    for kind, name in (
        (known.ZstdCodec, "zstd"), (known.GzipCodec, "gzip"), (known.BloscCodec, "blosc"),
    ):  # fmt: skip
        if isinstance(codec, kind):
            return _Bounded(codec, name)
    plain = known.BytesCodec, known.Crc32cCodec, known.TransposeCodec, known.VLenUTF8Codec
    if not isinstance(codec, plain):
        raise _not_read(codec)
    return codec


def _not_read(codec: object) -> OverLimit:
    name = getattr(codec, "codec_name", None) or getattr(codec, "codec_id", type(codec).__name__)
    return OverLimit(
        f"its codec {name} is not supported; write it with zstd, gzip or blosc, or uncompressed"
    )


class _BoundedV2(numcodecs.abc.Codec):  # type: ignore[misc]  # numcodecs has no types
    """A Zarr 2 compressor that decompresses to at most a chunk's size."""

    codec_id = "bounded"

    def __init__(self, name: str, limit: int) -> None:
        self._name, self._limit = name, limit

    def decode(self, buf: Any, _out: None = None) -> bytes:
        """Decompress a chunk."""
        return unpack(self._name, bytes(buf), self._limit)

    def encode(self, buf: Any) -> bytes:
        """Raise: such an array is read-only."""
        raise NotImplementedError


def _bounded_v2(array: zarr.Array[Any]) -> _BoundedV2 | None:
    metadata: Any = array.metadata
    if metadata.filters:
        raise _not_read(metadata.filters[0])
    if metadata.compressor is None:
        return None
    name = metadata.compressor.codec_id
    if name not in _UNPACK:
        raise _not_read(metadata.compressor)
    return _BoundedV2(name, math.prod(array.chunks) * array.dtype.itemsize)
