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
from bids_core.errors import ArtifactError, DataError
from bids_core.formatting import brief

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

    from bids_core.config import ReadLimits
    from bids_core.data.locate import InputFile

_UNSUSPICIOUS: Final = 1 << 28  # below this decompressed size the ratio is not checked
_BUFFER: Final = 1 << 20
_BATCH_ROWS: Final = 1024
_BATCH_BYTES: Final = 1 << 30  # most decompressed bytes of Parquet rows at a time
_TABLE_BYTES: Final = 1 << 30
_TABLE_TIMES: Final = 1000
_VALUE_BYTES: Final = 8  # of a value that takes almost no storage: null, or a repeated one
_TEXTS: Final = (pa.string(), pa.binary(), pa.large_string(), pa.large_binary())


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
    with _open(file.path) as parquet:
        groups = [_size_of(parquet.metadata.row_group(i)) for i in range(parquet.num_row_groups)]
        packed, unpacked = file.path.stat().st_size, 0
        check_unpacked(file, packed, sum(groups), limits)
        groups = _claimed_by_groups(file.path, parquet, file.shown)
        check_unpacked(file, packed, sum(groups), limits)
        for index, size in enumerate(groups):
            for batch in parquet.iter_batches(batch_size=_rows_at_once(size), row_groups=[index]):
                unpacked += decoded_bytes(
                    batch
                )  # more than the groups state, if rows share a value
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
    with _open(path) as parquet:
        groups = _claimed_by_groups(path, parquet, str(path))
        if sum(groups) > most:
            raise _too_large(path, packed, most)
        schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
        plain = [pa.types.is_primitive(field.type) for field in schema]
        counted = rows * _VALUE_BYTES * sum(plain)
        rest = [field.name for field, is_plain in zip(schema, plain, strict=True) if not is_plain]
        for index, size in enumerate(groups if rest else ()):
            for batch in parquet.iter_batches(
                batch_size=_rows_at_once(size), row_groups=[index], columns=rest, use_threads=False
            ):
                counted += decoded_bytes(batch)
                if counted > most:
                    raise _too_large(path, packed, most)
    if counted > most:
        raise _too_large(path, packed, most)


def read_table(path: Path, *, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a table of an artifact or a run folder, within the limits of `require_bounded`.

    Args:
        path: of a Parquet file.
        columns: of it; None for all.

    Raises:
        ArtifactError: it is missing, damaged, lacks a column, or unpacks to too much.
    """
    import pandas as pd

    try:
        require_bounded(path)
        return pd.read_parquet(path, columns=columns)
    except DataError as error:
        raise ArtifactError(f"{error}; make it again") from error
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # pyarrow's and pandas' own errors are among these; the others come of damaged metadata
        reason = brief(error) or type(error).__name__
        msg = f"{path} cannot be read as a table ({reason}); make it again"
        raise ArtifactError(msg) from error


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
    with _open(path) as parquet:
        if sum(_claimed_by_groups(path, parquet, str(path))) > most:
            raise _too_large(path, packed, most)
        found = parquet.schema_arrow
        columns = [name for name in schema.names if name in found.names]
        for name in columns:
            _require_type(found.field(name).type, schema.field(name))
        table = parquet.read(columns=columns)
    if sum(map(decoded_bytes, table.to_batches())) > most:
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


def decoded_bytes(batch: pa.RecordBatch) -> int:
    """Return the decoded size of a batch in bytes, with repeated texts counted each time."""
    return sum(map(_array_bytes, batch.columns))


def _array_bytes(array: pa.Array) -> int:
    if isinstance(array, pa.ExtensionArray):
        return _array_bytes(array.storage)
    if pa.types.is_dictionary(array.type):
        if array.type.value_type not in _TEXTS:
            return _VALUE_BYTES * len(array)
        lengths = pc.binary_length(array.dictionary).cast(pa.int64())
        said = int(pc.sum(pc.take(lengths, array.indices)).as_py() or 0)
        return said + 4 * len(array)
    if pa.types.is_struct(array.type):
        return sum(map(_array_bytes, array.flatten()))
    if pa.types.is_map(array.type):
        start, stop = array.offsets[0].as_py(), array.offsets[-1].as_py()
        parts = (part.slice(start, stop - start) for part in (array.keys, array.items))
        return sum(map(_array_bytes, parts)) + 4 * len(array)
    if pa.types.is_nested(array.type) and hasattr(array, "flatten"):
        return _array_bytes(array.flatten()) + 4 * len(array)
    return int(array.nbytes)


def _too_large(path: Path, packed: int, most: int) -> DataError:
    msg = f"{path}: its {packed:,} bytes unpack to more than {most:,}, too much for real values"
    return DataError(msg)


def _open(path: Path) -> pq.ParquetFile:
    """Open a file so that texts stay dictionary-encoded, also inside lists and structs.

    A list of a million items that all refer to the same text of a megabyte is then measured before
    it is decoded.
    """
    with pq.ParquetFile(path) as parquet:
        metadata, schema = parquet.metadata, parquet.schema
        columns = [schema.column(index) for index in range(len(schema))]
    shared = [
        column.path
        for column in columns
        if column.physical_type == "BYTE_ARRAY" and column.logical_type.type != "DECIMAL"
    ]
    return pq.ParquetFile(path, metadata=metadata, read_dictionary=shared)


def _claimed_by_groups(path: Path, parquet: pq.ParquetFile, shown: str) -> list[int]:
    """Return the decompressed size that the pages of each row group claim, at least 8 bytes a row.

    Raises:
        DataError: a page header cannot be read.
    """
    metadata = parquet.metadata
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    found = [0] * len(groups)
    try:
        with path.open("rb") as file:
            for page in claimed_sizes(file, metadata):
                found[page.group] += page.claims
    except ValueError as error:
        raise DataError(f"{shown}: not a readable Parquet file ({error})") from error
    rows = (_VALUE_BYTES * int(group.num_rows) for group in groups)
    return [max(pair) for pair in zip(found, rows, strict=True)]


def _rows_at_once(size: int) -> int:
    """Return how many rows of a group to read at a time; one row may be nearly all of it."""
    return _BATCH_ROWS if size <= _BATCH_BYTES else 1


def _size_of(group: pq.RowGroupMetaData) -> int:
    columns = [group.column(i) for i in range(group.num_columns)]
    stored = sum(column.total_uncompressed_size for column in columns)
    values = max((int(column.num_values) for column in columns), default=0)
    return max(int(stored), values * _VALUE_BYTES)


def _rows_of(batch: pa.RecordBatch, limits: ReadLimits) -> Iterator[dict[str, Any] | RejectedRow]:
    if decoded_bytes(batch) <= limits.row_bytes:
        yield from _decoded(batch).to_pylist()
        return
    for index in range(batch.num_rows):
        row = batch.slice(index, 1)
        yield too_long(limits) if decoded_bytes(row) > limits.row_bytes else row.to_pylist()[0]


def _decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch with dictionaries decoded, which is faster to turn into Python rows."""
    columns = [column.cast(_plain(column.type)) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_plain(kind.key_type), _plain(kind.item_type))
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(_plain(kind.value_type))
    return kind


def too_long(limits: ReadLimits, *, hint: str = "cut it") -> RejectedRow:
    """Return the reject for a row that is too long."""
    detail = (
        f"longer than {limits.row_bytes:,} bytes; {hint}, or raise the source's limits.row_bytes"
    )
    return RejectedRow("row-too-long", detail)
