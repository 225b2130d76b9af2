"""Reading within limits on decompressed size and on the length of a line or row.

A few kilobytes can decompress to more than any machine's memory: as one endless line, as endless
rows, or as one dictionary entry of a Parquet file that every row repeats. Whatever a file holds,
reading it takes memory for a few rows of `row_bytes`, or for one JSON document.
"""

from __future__ import annotations

import csv
import gzip
import io
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TextIO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import zstandard

from bids_core.data.parquet_pages import claimed_sizes
from bids_core.data.rejects import RejectedRow
from bids_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bids_core.config import ReadLimits
    from bids_core.data.locate import InputFile

_UNSUSPICIOUS: Final = 1 << 28  # below this decompressed size the ratio is not checked
_BUFFER: Final = 1 << 20
_BATCH_ROWS: Final = 1024
_BATCH_BYTES: Final = 1 << 30  # most decompressed bytes of Parquet rows at a time
_TABLE_BYTES: Final = 1 << 30
_TABLE_TIMES: Final = 1000
_VALUE_BYTES: Final = 8  # of a value that takes almost no storage: null, or a repeated one


class RowTooLong(csv.Error):
    """A CSV row is longer than the limit."""


def open_bounded(file: InputFile, limits: ReadLimits) -> BinaryIO:
    """Open a file, decompressing it; reading beyond its limits raises DataError."""
    if file.compression is None:
        return file.path.open("rb")
    if file.compression == ".gz":
        unpacked = cast("BinaryIO", gzip.GzipFile(file.path, "rb"))
    else:
        unpacked = zstandard.ZstdDecompressor().stream_reader(
            file.path.open("rb"), read_across_frames=True, closefd=True
        )
    return io.BufferedReader(_Unpacked(unpacked, file, limits), _BUFFER)


class _Unpacked(io.RawIOBase):
    """Counts the bytes decompressed from a file."""

    def __init__(self, inner: BinaryIO, file: InputFile, limits: ReadLimits) -> None:
        self._inner, self._file, self._limits = inner, file, limits
        self._packed = file.path.stat().st_size
        self._count = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read from the file, and check the count."""
        count: int = self._inner.readinto(buffer)  # type: ignore[attr-defined]
        self._count += count
        check_unpacked(self._file, self._packed, self._count, self._limits)
        return count

    def close(self) -> None:
        """Close the underlying file too."""
        self._inner.close()
        super().close()


def check_unpacked(file: InputFile, packed: int, unpacked: int, limits: ReadLimits) -> None:
    """Raise if a file decompresses to too much.

    Raises:
        DataError: more than `ratio` times its size, beyond the first 256 MiB.
    """
    if unpacked > max(_UNSUSPICIOUS, limits.ratio * packed):
        msg = (
            f"{file.shown}: its {packed:,} bytes unpack to more than {unpacked:,}, over "
            f"{limits.ratio} times as many; if that is intended, raise `limits.ratio` of this "
            "source"
        )
        raise DataError(msg)


def bounded_lines(stream: BinaryIO, limits: ReadLimits) -> Iterator[bytes | RejectedRow]:
    """Yield the lines of a file, with a reject in place of a line that is too long."""
    while line := stream.readline(limits.row_bytes + 1):
        if len(line) <= limits.row_bytes or line.endswith(b"\n"):
            yield line
            continue
        while (rest := stream.readline(_BUFFER)) and not rest.endswith(b"\n"):
            pass
        yield too_long(limits)


def bounded_text_lines(text: TextIO, limits: ReadLimits) -> Iterator[str | None]:
    """Yield the lines of a text, with None in place of a line that is too long."""
    while line := text.readline(limits.row_bytes + 1):
        if len(line) <= limits.row_bytes or line.endswith("\n"):
            yield line
            continue
        while (rest := text.readline(_BUFFER)) and not rest.endswith("\n"):
            pass
        yield None


def read_document(file: InputFile, stream: BinaryIO, limits: ReadLimits) -> bytes:
    """Return all bytes of a JSON document.

    Raises:
        DataError: it is longer than the limit.
    """
    data = stream.read(limits.document_bytes + 1)
    if len(data) > limits.document_bytes:
        msg = (
            f"{file.shown}: longer than {limits.document_bytes:,} bytes, and a JSON document "
            "is read whole; write it as JSONL, or raise `limits.document_bytes` of this "
            "source"
        )
        raise DataError(msg)
    return data


def parquet_rows(file: InputFile, limits: ReadLimits) -> Iterator[dict[str, Any] | RejectedRow]:
    """Yield the rows of a Parquet file, with a reject in place of a row that is too long."""
    with pq.ParquetFile(file.path) as parquet:
        groups = [_size_of(parquet.metadata.row_group(i)) for i in range(parquet.num_row_groups)]
        packed, unpacked = file.path.stat().st_size, 0
        check_unpacked(file, packed, sum(groups), limits)
        check_unpacked(file, packed, _claimed_by_pages(file.path, parquet, file.shown), limits)
        for index, size in enumerate(groups):
            # at worst, one value makes up the whole group and every row repeats it
            rows = min(max(_BATCH_BYTES // max(size, 1), 1), _BATCH_ROWS)
            for encoded in parquet.iter_batches(batch_size=rows, row_groups=[index]):
                batch = _without_dictionaries(encoded)
                unpacked += batch.nbytes  # more than the groups state, if rows share a value
                check_unpacked(file, packed, unpacked, limits)
                yield from _rows_of(batch, limits)


def require_bounded(path: Path) -> None:
    """Raise if a Parquet table, read whole, takes implausibly more memory than its file size.

    Numbers are counted from the metadata, texts and lists by reading them in pieces.

    Raises:
        DataError: more than a thousand times its size, beyond the first gibibyte.
        OSError, ValueError: it cannot be read.
    """
    packed = path.stat().st_size
    most = max(_TABLE_BYTES, _TABLE_TIMES * packed)
    with pq.ParquetFile(path) as parquet:
        if _claimed_by_pages(path, parquet, str(path)) > most:
            raise _too_large(path, packed, most)
        schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
        plain = [pa.types.is_primitive(field.type) for field in schema]
        counted = rows * _VALUE_BYTES * sum(plain)
        rest = [field.name for field, is_plain in zip(schema, plain, strict=True) if not is_plain]
        if counted <= most and rest:
            for batch in parquet.iter_batches(batch_size=64, columns=rest, use_threads=False):
                counted += _without_dictionaries(batch).nbytes
                if counted > most:
                    break
    if counted > most:
        raise _too_large(path, packed, most)


def read_bounded(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a Parquet table of known columns as a whole, within the limits of `require_bounded`.

    Dictionary-encoded texts stay encoded until their total length is known.

    Args:
        path: of the file.
        schema: texts, numbers, and lists of numbers; columns that the file lacks are null.

    Raises:
        DataError: more than a thousand times its size, beyond the first gibibyte; or damaged.
        OSError, ValueError: it cannot be read, or a column is of another type.
    """
    packed = path.stat().st_size
    most = max(_TABLE_BYTES, _TABLE_TIMES * packed)
    there = set(pq.read_schema(path).names)
    texts = [f.name for f in schema if pa.types.is_string(f.type) and f.name in there]
    with pq.ParquetFile(path, read_dictionary=texts) as parquet:
        if _claimed_by_pages(path, parquet, str(path)) > most:
            raise _too_large(path, packed, most)
        found = parquet.schema_arrow
        columns = [name for name in schema.names if name in found.names]
        for name in columns:
            _require_type(found.field(name).type, schema.field(name))
        table = parquet.read(columns=columns)
    if table.nbytes + sum(map(_decoded_bytes, table.columns)) > most:
        raise _too_large(path, packed, most)
    return pa.Table.from_arrays(
        [
            table[field.name].cast(field.type)
            if field.name in columns
            else pa.nulls(table.num_rows, field.type)
            for field in schema
        ],
        schema=schema,
    )


def _require_type(found: pa.DataType, wanted: pa.Field) -> None:
    value = found.value_type if pa.types.is_dictionary(found) else found
    if value != wanted.type:
        raise ValueError(f"column {wanted.name} is {found}, not {wanted.type}")


def _decoded_bytes(column: pa.ChunkedArray) -> int:
    """Return the total length of a dictionary-encoded column's texts once decoded."""
    if not pa.types.is_dictionary(column.type):
        return 0
    lengths = (
        pc.take(pc.binary_length(chunk.dictionary).cast(pa.int64()), chunk.indices)
        for chunk in column.chunks
    )
    return sum(int(pc.sum(part).as_py() or 0) for part in lengths)


def _too_large(path: Path, packed: int, most: int) -> DataError:
    msg = f"{path}: its {packed:,} bytes unpack to more than {most:,}, too much for real values"
    return DataError(msg)


def _claimed_by_pages(path: Path, parquet: pq.ParquetFile, shown: str) -> int:
    """Return the decompressed size that a file's pages claim, or that their values take, if more.

    Raises:
        DataError: a page header cannot be read.
    """
    try:
        with path.open("rb") as file:
            pages = list(claimed_sizes(file, parquet.metadata))
    except ValueError as error:
        raise DataError(f"{shown}: not a readable Parquet file ({error})") from error
    return max(sum(page.unpacked for page in pages), _VALUE_BYTES * sum(p.values for p in pages))


def _size_of(group: pq.RowGroupMetaData) -> int:
    columns = [group.column(i) for i in range(group.num_columns)]
    stored = sum(column.total_uncompressed_size for column in columns)
    values = max((int(column.num_values) for column in columns), default=0)
    return max(int(stored), values * _VALUE_BYTES)


def _without_dictionaries(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch with dictionaries decoded, so that its size is that of its rows."""
    if not any(pa.types.is_dictionary(column.type) for column in batch.columns):
        return batch
    columns = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _rows_of(batch: pa.RecordBatch, limits: ReadLimits) -> Iterator[dict[str, Any] | RejectedRow]:
    if batch.nbytes <= limits.row_bytes:
        yield from batch.to_pylist()
        return
    for index in range(batch.num_rows):
        row = batch.slice(index, 1)
        yield too_long(limits) if row.nbytes > limits.row_bytes else row.to_pylist()[0]


def too_long(limits: ReadLimits, *, hint: str = "cut it") -> RejectedRow:
    """Return the reject for a row that is too long."""
    detail = (
        f"longer than {limits.row_bytes:,} bytes; {hint}, or raise the source's limits.row_bytes"
    )
    return RejectedRow("row-too-long", detail)
