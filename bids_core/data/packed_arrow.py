"""Detects compressed Arrow files in a `datasets` folder.

`datasets` writes them uncompressed and memory-maps them. A compressed file is decompressed whole
when the folder is opened, however large it is, and pyarrow does not reveal this beforehand. The
header of each batch does. It is a FlatBuffers table (arrow/format/Message.fbs):
`Message.header_type` and `.header`, `DictionaryBatch.data`, `RecordBatch.compression`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import pyarrow as pa

if TYPE_CHECKING:
    from pathlib import Path

_DICTIONARY, _RECORDS = 2, 3  # message types
_HEADER_TYPE: Final = 1
_HEADER: Final = 2
_DATA: Final = 1
_COMPRESSION: Final = 3


def packed_file(folder: Path) -> Path | None:
    """Return a compressed Arrow stream in a folder; None if there is none."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return next((path for path in files if path.suffix != ".json" and _is_packed(path)), None)


def _is_packed(path: Path) -> bool:
    if not path.stat().st_size:
        return False
    try:
        with pa.memory_map(str(path)) as source:
            messages = pa.ipc.MessageReader.open_stream(source)
            return any(_says_packed(message.metadata.to_pybytes()) for message in messages)
    except (pa.ArrowException, OSError, struct.error, IndexError):
        return False  # not an Arrow stream, or damaged: opening it will report that


def _says_packed(message: bytes) -> bool:
    (root,) = struct.unpack_from("<I", message)
    kind, header = _field(message, root, _HEADER_TYPE), _inner(message, root, _HEADER)
    if kind is None or header is None or message[kind] not in (_DICTIONARY, _RECORDS):
        return False
    if message[kind] == _DICTIONARY:
        header = _inner(message, header, _DATA)
    return header is not None and _field(message, header, _COMPRESSION) is not None


def _field(data: bytes, table: int, index: int) -> int | None:
    """Return the position of a table's field; None if the table lacks it."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    slot = 4 + 2 * index
    if slot + 2 > struct.unpack_from("<H", data, vtable)[0]:
        return None
    offset: int = struct.unpack_from("<H", data, vtable + slot)[0]
    return table + offset if offset else None


def _inner(data: bytes, table: int, index: int) -> int | None:
    place = _field(data, table, index)
    return None if place is None else place + int(struct.unpack_from("<I", data, place)[0])
