"""Zarr arrays that others wrote, within limits: what they claim, and what their chunks unpack to.

A few hundred bytes of metadata can claim a shape, a chunk or a number of chunks that no memory
holds, and a chunk of some kilobytes can unpack to any size. Claims are compared with the files
before a chunk is read; and no chunk unpacks to more than its region of the array.
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
"""How many times its files an array may be: no compression of real numbers comes near."""
_CHUNK_BYTES: Final = 1 << 31  # the most that Blosc, Zarr's usual codec, can write
_SMALL_CHUNKS: Final = 10_000
_BYTES_A_CHUNK: Final = 64  # of its files; smaller chunks cost more to keep track of than to hold
_TEXT_BYTES: Final = 1 << 26  # a chunk of texts, whose length is not known from its place
_TEXT_TIMES: Final = 200
_SLACK: Final = 64  # checksums within


class OverLimit(ValueError):
    """An array that is more than its files hold, or than may be read of it."""


def open_zarr(path: Path) -> Any:
    """Open a Zarr array or group; read a group's arrays through `bounded_array`.

    Raises:
        ValueError: over a limit. Zarr has many other kinds for metadata that is wrong.
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
        ValueError: over a limit, or an array.
    """
    node = open_zarr(path)
    if not isinstance(node, zarr.Group):
        msg = "there is an array where a group is expected"
        raise OverLimit(msg)
    return node


def bounded_array(array: Any) -> zarr.Array[Any]:
    """Return an array whose chunks unpack to no more than their regions of it.

    Args:
        array: an array on this machine, as a group has it.

    Raises:
        ValueError: it is no array, claims more than its files hold, or uses a codec that is not
            bounded here.
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
    """Refuse claims: chunks that are not there are filled, without end."""
    folder = Path(str(getattr(array.store, "root", ""))) / array.path
    stored = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    item, grid = array.dtype.itemsize, array.shards or array.chunks
    if array.dtype.kind in "OT":  # texts: a reference each, and what stands for those that lack
        item += len(str(array.fill_value))
    pieces = [
        math.ceil(length / max(step, 1)) for length, step in zip(array.shape, grid, strict=True)
    ]
    whole = math.prod(n * step for n, step in zip(pieces, grid, strict=True)) * item
    if max(whole, array.nbytes) > max(_SMALL_BYTES, _MOST_TIMES * stored):
        msg = (
            f"it claims the shape {array.shape} in chunks of {grid}, {whole:,} bytes, but its "
            f"files hold {stored:,}; write it with its values"
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
    """Unpack a chunk.

    Args:
        codec: name of what packed it.
        data: the chunk.
        limit: most bytes that may come of it.

    Raises:
        OverLimit: more would come of it.
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
    """Unpack what begins with its length, four bytes; the codec holds it to that."""
    if int.from_bytes(data[at : at + 4], "little") > limit:
        raise _too_much(data, limit)
    return bytes(decode(data))


def _zstd(data: bytes, limit: int) -> bytes:
    import zstandard  # ours are not packed: a machine that reads no others does without

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
    """A codec of Zarr 3 that unpacks within a chunk's size."""

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
    """A compressor of Zarr 2 that unpacks within a chunk's size."""

    codec_id = "bounded"

    def __init__(self, name: str, limit: int) -> None:
        self._name, self._limit = name, limit

    def decode(self, buf: Any, _out: None = None) -> bytes:
        """Unpack a chunk."""
        return unpack(self._name, bytes(buf), self._limit)

    def encode(self, buf: Any) -> bytes:
        """Refuse: such an array is read only."""
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
