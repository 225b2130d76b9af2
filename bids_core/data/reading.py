"""Rows from files: JSONL, JSON, CSV and Parquet, plain or compressed, one row at a time.

A damaged *row* never stops the reading: it becomes a `RawRow` whose `parse` raises `RejectedRow`. A
damaged *file* (truncated gzip, broken Parquet, a JSON document that does not parse) raises
`DataError`, because its rows cannot be counted.
"""

from __future__ import annotations

import csv
import io
import json
import zlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import pyarrow as pa
import zstandard

from bids_core.config import ReadLimits
from bids_core.data.bounded import (
    RowTooLong,
    bounded_lines,
    bounded_text_lines,
    open_bounded,
    parquet_rows,
    read_document,
    too_long,
)
from bids_core.data.rejects import RejectedRow, shorten
from bids_core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bids_core.data.locate import InputFile

_LIMITS: Final = ReadLimits()
_MAX_CSV_FIELD: Final = 1 << 30  # the default of 128 KiB is too short for a long document
_BROKEN_FILE: Final = (OSError, EOFError, zlib.error, zstandard.ZstdError, pa.ArrowException)


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row of a file, not parsed yet.

    Args:
        file: the file it was read from.
        number: line (JSONL, CSV: where the row starts) or row (JSON, Parquet) in it, from 1.
        content: a JSONL line's bytes, the row's fields, or why it could not be read.
    """

    file: InputFile
    number: int
    content: bytes | dict[str, Any] | RejectedRow

    @property
    def location(self) -> str:
        """`file:line` for messages."""
        return f"{self.file.shown}:{self.number}"

    @property
    def label(self) -> str:
        """The row's position in its source: `12`, or `file.jsonl:12` if there are several files."""
        return f"{self.file.label}:{self.number}" if self.file.label else str(self.number)

    def parse(self) -> dict[str, Any]:
        """Return the row's fields.

        Raises:
            RejectedRow: it is malformed.
        """
        if isinstance(self.content, RejectedRow):
            raise self.content
        return parse_line(self.content) if isinstance(self.content, bytes) else self.content


def read_rows(
    file: InputFile, *, records: str | None = None, limits: ReadLimits = _LIMITS
) -> Iterator[RawRow]:
    """Yield the rows of a file. Blank lines of a JSONL file are not rows.

    Args:
        file: what to read.
        records: dotted path of the list of rows in a JSON document.
        limits: a row beyond them is a reject, a file beyond them an error.

    Raises:
        DataError: the file as a whole cannot be read, or decompresses to more than allowed.
        ConfigError: `records` is set for a file that is not a JSON document.
    """
    if records and file.kind != ".json":
        msg = f"{file.shown}: `records` is for JSON documents (.json); remove it from this source"
        raise ConfigError(msg)
    try:
        if file.kind == ".parquet":
            yield from _read_parquet(file, limits)
            return
        with open_bounded(file, limits) as stream:
            if file.kind in (".csv", ".tsv"):
                yield from _read_csv(file, stream, limits)
            elif file.kind == ".json":
                yield from _read_json(file, stream, records, limits)
            else:
                yield from _read_lines(file, stream, limits)
    except _BROKEN_FILE as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"{file.shown}: the file cannot be read ({first_line}); is it complete?"
        raise DataError(msg) from error


def parse_line(line: bytes) -> dict[str, Any]:
    """Parse one JSONL line.

    Raises:
        RejectedRow: it is not UTF-8, not JSON, or not an object.
    """
    if b"\x00" in line:
        raise RejectedRow("null-bytes", "the line holds NUL bytes; write the row again")
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        detail = f"byte {line[error.start]:#04x} at column {error.start + 1} is not UTF-8"
        raise RejectedRow("not-utf8", f"{detail}; convert the file to UTF-8") from None
    except RecursionError:
        raise RejectedRow("malformed-json", "nested too deeply; flatten the row") from None
    except ValueError as error:
        detail = f"{error} in {shorten(line[:60].decode('utf-8', 'replace'), 45)}"
        raise RejectedRow("malformed-json", f"{detail}; write one JSON object per line") from None
    if not isinstance(row, dict):
        detail = f"found {shorten(row, 30)}; write one JSON object {{...}} per line"
        raise RejectedRow("not-an-object", detail)
    return row


def _read_lines(file: InputFile, stream: BinaryIO, limits: ReadLimits) -> Iterator[RawRow]:
    for number, line in enumerate(bounded_lines(stream, limits), start=1):
        if isinstance(line, RejectedRow):
            yield RawRow(file, number, line)
            continue
        content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if content.strip():
            yield RawRow(file, number, content)


def _read_json(
    file: InputFile, stream: BinaryIO, records: str | None, limits: ReadLimits
) -> Iterator[RawRow]:
    data = read_document(file, stream, limits)
    if not data.strip():
        return
    try:
        # surrogateescape: invalid bytes reject the rows that hold them (`check_text`), not the file
        document = json.loads(data.decode("utf-8-sig", errors="surrogateescape"))
    except (ValueError, RecursionError) as error:
        if not records and _is_json_lines(data):  # many JSONL files are named .json
            yield from _read_lines(file, io.BytesIO(data), limits)
            return
        msg = f"{file.shown}: not a valid JSON document ({error})"
        raise DataError(msg) from None
    for number, row in enumerate(_rows_of(document, file, records), start=1):
        if len(data) > limits.row_bytes and len(json.dumps(row)) > limits.row_bytes:
            yield RawRow(file, number, too_long(limits))
        elif isinstance(row, dict):
            yield RawRow(file, number, row)
        else:
            detail = f"found {shorten(row, 30)}; each row must be an object with named fields"
            yield RawRow(file, number, RejectedRow("not-an-object", detail))


def _is_json_lines(data: bytes) -> bool:
    """Return whether the first non-blank line is a complete JSON object."""
    first = next((line for line in io.BytesIO(data) if line.strip()), b"")
    try:
        parse_line(first.removeprefix(b"\xef\xbb\xbf"))
    except RejectedRow:
        return False
    return True


def _rows_of(document: Any, file: InputFile, records: str | None) -> list[Any]:
    for part in (records or "").split(".") if records else ():
        if not isinstance(document, dict) or part not in document:
            here = ", ".join(document) if isinstance(document, dict) else type(document).__name__
            msg = (
                f"{file.shown}: `records: {records}` does not exist in the file (no "
                f"{part!r}; found: {here})"
            )
            raise DataError(msg)
        document = document[part]
    if isinstance(document, list):
        return document
    if isinstance(document, dict) and not records:
        lists = [key for key, value in document.items() if isinstance(value, list)]
        if not lists or {"messages", "conversations"} & set(lists):
            return [document]  # a JSONL file with one row, named .json
        msg = (
            f"{file.shown}: the rows are wrapped in an object; set `records` to the field with"
            f" the list of rows (one of: {', '.join(lists)})"
        )
        raise DataError(msg)
    msg = f"{file.shown}: expected a list of rows, found {shorten(document, 30)}"
    raise DataError(msg)


def _read_csv(file: InputFile, stream: BinaryIO, limits: ReadLimits) -> Iterator[RawRow]:
    # surrogateescape: invalid bytes reject one row, not the file
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    csv.field_size_limit(_MAX_CSV_FIELD)
    lines = _Lines(bounded_text_lines(text, limits), limits.row_bytes)
    options: dict[str, Any] = {"delimiter": "\t" if file.kind == ".tsv" else ",", "strict": True}
    reader = csv.reader(lines, **options)
    try:
        header = next(reader, None)
    except csv.Error as error:
        msg = f"{file.shown}: the header cannot be read ({error or 'too long'})"
        raise DataError(msg) from error
    if header is None:
        return
    if len(set(header)) < len(header):
        msg = f"{file.shown}: the header names a column twice ({', '.join(header)}); rename one"
        raise DataError(msg)
    while True:
        lines.begin()
        try:
            values = next(reader)
        except StopIteration:
            return
        except RowTooLong:
            yield RawRow(file, lines.start, too_long(limits, hint="close the quote, or remove it"))
            lines.back_to_second()
            reader = csv.reader(lines, **options)
            continue
        except csv.Error as error:
            detail = f"{error}; close the quote, and double quotes within text"
            yield RawRow(file, lines.start, RejectedRow("malformed-csv", detail))
            lines.back_to_second()
            reader = csv.reader(lines, **options)
            continue
        if values:  # the csv module gives [] for a blank line
            yield RawRow(file, lines.start, _csv_row(header, values))


class _Lines:
    """Lines that can be pushed back, so that a stray quote does not swallow the next rows."""

    def __init__(self, text: Iterable[str | None], row_limit: int) -> None:
        self._text = iter(text)
        self._row_limit = row_limit
        self._again: deque[str | None] = deque()
        self._taken: list[str | None] = []
        self._length = 0
        self._number = 0
        self.start = 1
        """Number of the current row's first line."""

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._text)
        self._taken.append(line)
        self._number += 1
        self._length += len(line or "")
        if line is None or self._length > self._row_limit:
            raise RowTooLong
        return line

    def begin(self) -> None:
        """Start a new row."""
        self._taken, self._length = [], 0
        self.start = self._number + 1

    def back_to_second(self) -> None:
        """Push back all lines of the current row except its first."""
        self._again.extendleft(reversed(self._taken[1:]))
        self._number -= len(self._taken) - 1


def _csv_row(header: list[str], values: list[str]) -> dict[str, Any] | RejectedRow:
    if len(values) != len(header):
        detail = f"{len(values)} columns where the header has {len(header)}; quote commas in text"
        return RejectedRow("csv-columns", detail)
    return dict(zip(header, values, strict=True))


def _read_parquet(file: InputFile, limits: ReadLimits) -> Iterator[RawRow]:
    if file.compression:
        msg = f"{file.shown}: Parquet compresses by itself; unpack the file first"
        raise DataError(msg)
    for number, row in enumerate(parquet_rows(file, limits), start=1):
        content = row if isinstance(row, RejectedRow) else without_filled_nulls(row)
        yield RawRow(file, number, content)


def without_filled_nulls(row: dict[str, Any]) -> dict[str, Any]:
    """Drop the nulls inside a row's nested values, as Arrow fills them in.

    All structs of an Arrow column have the same fields, so a turn or a tool's arguments have nulls
    for fields that only others use. (TRL drops them too.) Columns that are null stay.
    """
    return {name: _without_nulls(value) for name, value in row.items()}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
