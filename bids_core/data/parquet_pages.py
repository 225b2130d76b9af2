"""The decompressed sizes that a Parquet file's pages claim, before anything is decompressed.

A page header states the page's decompressed size, and Arrow allocates that much memory before it
decompresses a byte: a false header costs 2 GiB per processor. pyarrow does not expose headers, so
they are parsed here. They use Thrift's compact protocol, of which only integers, and skipping
everything else, are needed. Nothing else of the file is read.

Source: apache/parquet-format, parquet.thrift (PageHeader); thrift-compact-protocol.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import SEEK_END
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow.parquet as pq

_UNCOMPRESSED, _COMPRESSED = 2, 3  # field ids of PageHeader
_DATA_PAGES: Final = (5, 8)  # data page headers, versions 1 and 2; their field 1 counts values
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = (
    0, 1, 2, 3, 7, 8, 9, 10, 11, 12,
)  # fmt: skip
_WHOLE: Final = (4, 5, 6)  # 16, 32 and 64 bits, all as varints
_READ: Final = (1 << 12, 1 << 20)  # bytes read for a header; more if it has long statistics
_DEEPEST: Final = 16
_VALUE_BYTES: Final = 8  # of a value that takes almost no storage: null, or a repeated one


@dataclass(frozen=True, slots=True)
class Page:
    """What a page header claims.

    Args:
        unpacked: decompressed size in bytes.
        values: number of values, including nulls and list items; 0 for a dictionary.
        stored: bytes in the file, including the header.
        width: least size of a decoded value in bytes.
        group: index of its row group.
    """

    unpacked: int
    values: int
    stored: int
    width: int = _VALUE_BYTES
    group: int = 0

    @property
    def claims(self) -> int:
        """Return the memory it claims in bytes, before texts are repeated."""
        return max(self.unpacked, self.values * self.width)


def claimed_sizes(file: BinaryIO, metadata: pq.FileMetaData) -> Iterator[Page]:
    """Yield the claimed sizes of each page of a file.

    Args:
        file: the Parquet file.
        metadata: its footer.

    Raises:
        ValueError: a header cannot be read, or the columns claim more bytes than the file has.
    """
    left = file.seek(0, SEEK_END)
    for group in range(metadata.num_row_groups):
        if not metadata.row_group(group).num_rows:
            continue  # its columns have no pages, whatever offsets are given
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            place = int(column.data_page_offset)
            first = column.dictionary_page_offset
            if first is not None and 0 < first < place:
                place = int(first)
            left -= int(column.total_compressed_size)
            if left < 0:
                raise ValueError("its columns claim more bytes than it has")
            end = place + int(column.total_compressed_size)
            width = max(_VALUE_BYTES, int(metadata.schema.column(index).length))
            while place < end:
                page = _page(file, place)
                yield replace(page, width=width, group=group)
                place += page.stored


def _page(file: BinaryIO, place: int) -> Page:
    for bytes_read in _READ[:-1]:
        file.seek(place)
        try:
            return _Header(file.read(bytes_read)).page()
        except _CutOff:
            continue
    file.seek(place)
    return _Header(file.read(_READ[-1])).page()


class _CutOff(ValueError):
    """The header is truncated."""


class _Header:
    """Parses a PageHeader at the start of some bytes; `length` is how much has been read."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = 0

    def page(self) -> Page:
        """Return the header's contents.

        Raises:
            ValueError: this is not a header.
        """
        found: dict[int, int] = {}
        values, field = 0, 0
        while True:
            kind, field = self._field(field)
            if kind == _STOP:
                break
            if field in (_UNCOMPRESSED, _COMPRESSED) and kind in _WHOLE:
                found[field] = self._signed()
            elif field in _DATA_PAGES and kind == _STRUCT:
                values = self._values()
            else:
                self._pass(kind, 0)
        if len(found) != 2 or min(values, *found.values()) < 0:
            raise ValueError("a page header does not state its size")
        return Page(found[_UNCOMPRESSED], values, self.length + found[_COMPRESSED])

    def _values(self) -> int:
        values, field = 0, 0
        while True:
            kind, field = self._field(field)
            if kind == _STOP:
                return values
            if field == 1 and kind in _WHOLE:
                values = self._signed()
            else:
                self._pass(kind, 1)

    def _field(self, before: int) -> tuple[int, int]:
        head = self._byte()
        if head == _STOP:
            return _STOP, before
        step = head >> 4
        return head & 15, before + step if step else self._signed()

    def _byte(self) -> int:
        if self.length >= len(self._data):
            raise _CutOff("a page header is truncated")
        self.length += 1
        return self._data[self.length - 1]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a page header holds an unterminated number")

    def _signed(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _skip(self, count: int) -> None:
        if count > len(self._data) - self.length:
            raise _CutOff("a page header is truncated")
        self.length += count

    def _pass(self, kind: int, depth: int, *, element: bool = False) -> None:
        """Skip a value; a boolean takes one byte in a list, none as a field."""
        if depth > _DEEPEST:
            raise ValueError("a page header is unterminated")
        if kind in (_TRUE, _FALSE):
            self._skip(int(element))
        elif kind == _BYTE:
            self._skip(1)
        elif kind in _WHOLE:
            self._varint()
        elif kind == _DOUBLE:
            self._skip(8)
        elif kind == _BINARY:
            self._skip(self._varint())
        elif kind in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 != 15 else self._varint()
            for _ in range(count):
                self._pass(head & 15, depth + 1, element=True)
        elif kind == _MAP:
            if count := self._varint():
                kinds = self._byte()
                for _ in range(count):
                    self._pass(kinds >> 4, depth + 1, element=True)
                    self._pass(kinds & 15, depth + 1, element=True)
        elif kind == _STRUCT:
            field = 0
            while True:
                inner, field = self._field(field)
                if inner == _STOP:
                    break
                self._pass(inner, depth + 1)
        else:
            raise ValueError(f"a page header holds a value of unknown type {kind}")
