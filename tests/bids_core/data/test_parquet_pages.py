"""Pages of a Parquet file that lie about what they unpack to, and prepared data of that kind."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bids_core.config import ReadLimits
from bids_core.data import require_bounded
from bids_core.data.bounded import parquet_rows, read_bounded
from bids_core.data.locate import InputFile
from bids_core.data.parquet_pages import _Header, claimed_sizes
from bids_core.data.splits import PreparedData
from bids_core.errors import ArtifactError, DataError

LIE = 2**31 - 1


def varint(value, *, signed=True):
    """Encode a whole number as Thrift does: sign last (if any), seven bits a byte."""
    value, out = value << signed, b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def lying(path):
    """Write a good file of one page, and exchange the page's header for one as long that lies."""
    table = pa.table({"prompt": ["a text with some words " * 40] * 20})
    pq.write_table(table, path, compression="snappy", use_dictionary=False)
    data = bytearray(path.read_bytes())
    with pq.ParquetFile(path) as parquet:
        place = parquet.metadata.row_group(0).column(0).data_page_offset
    old = _Header(bytes(data[place:]))
    compressed = old.page().stored - old.length
    page = b"\x15" + varint(20) + b"\x15\x00\x15\x06\x15\x06\x00"  # values, encodings
    head = b"\x15\x00\x15" + varint(LIE) + b"\x15" + varint(compressed) + b"\x2c" + page
    padding = old.length - len(head) - 4  # a field that no reader knows: bytes
    assert padding > 127
    head += b"\x48" + varint(padding, signed=False) + b"x" * padding + b"\x00"
    assert len(head) == old.length
    data[place : place + old.length] = head
    path.write_bytes(data)
    return path


@pytest.fixture
def liar(tmp_path):
    return lying(tmp_path / "x.parquet")


def test_a_page_that_lies_is_refused_before_it_is_unpacked(liar):
    with pytest.raises(DataError, match=r"x.parquet: its .* bytes unpack to more than") as caught:
        list(parquet_rows(InputFile(liar, "x.parquet"), ReadLimits()))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="unpack to more than"):
        require_bounded(liar)
    with pytest.raises(DataError, match="unpack to more than"):
        read_bounded(liar, pa.schema([("prompt", pa.string())]))


def test_it_takes_no_memory(liar):
    program = f"""
import resource, sys
from bids_core.config import ReadLimits
from bids_core.data.bounded import parquet_rows
from bids_core.data.locate import InputFile
from bids_core.errors import DataError
from pathlib import Path
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    list(parquet_rows(InputFile(Path({str(liar)!r}), "x"), ReadLimits()))
except DataError:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert int(done.stdout) < 100, done.stderr


@pytest.mark.parametrize("options", [
    {}, {"compression": "zstd"}, {"compression": "none", "use_dictionary": False},
    {"data_page_version": "2.0"}, {"data_page_size": 200, "write_page_index": True},
    {"row_group_size": 7, "write_page_checksum": True}, {"write_statistics": False},
])  # fmt: skip
def test_the_sizes_of_good_files_add_up_to_what_their_metadata_says(tmp_path, options):
    rng = np.random.default_rng(0)
    table = pa.table({
        "text": [f"row {i} " * int(rng.integers(0, 9)) for i in range(100)],
        "same": ["x"] * 100, "none": pa.nulls(100), "number": rng.normal(size=100),
        "list": [list(range(i % 5)) for i in range(100)],
        "struct": [{"a": i, "b": [str(i)] * (i % 3)} for i in range(100)],
    })  # fmt: skip
    path = tmp_path / "x.parquet"
    pq.write_table(table, path, **options)
    with pq.ParquetFile(path) as parquet, path.open("rb") as file:
        groups = [parquet.metadata.row_group(i) for i in range(parquet.num_row_groups)]
        columns = [group.column(i) for group in groups for i in range(group.num_columns)]
        stored = sum(column.total_uncompressed_size for column in columns)
        claimed = list(claimed_sizes(file, parquet.metadata))
    unpacked = sum(page.unpacked for page in claimed)
    assert unpacked <= stored  # what the metadata says has the headers in it
    assert stored - unpacked < 200 * len(claimed)
    assert sum(page.values for page in claimed) == sum(column.num_values for column in columns)
    schema = pa.schema([table.schema.field(name) for name in ("text", "same", "number", "list")])
    assert read_bounded(path, schema).equals(table.select(schema.names).cast(schema))
    with pytest.raises(ValueError, match="column number is double, not string"):
        read_bounded(path, pa.schema([("number", pa.string())]))
    assert read_bounded(path, pa.schema([("new", pa.int32())]))["new"].null_count == 100


@given(st.binary(max_size=60))
def test_any_bytes_are_a_header_or_an_error(data):
    try:
        page = _Header(data).page()
    except ValueError:
        return
    assert min(page.unpacked, page.values, page.stored) >= 0


@pytest.mark.parametrize("name", ["train", "overlap"])
def test_prepared_data_that_lies_is_one_line(tmp_path, name):
    PreparedData(*(_empty() for _ in range(3))).save(tmp_path)
    assert not len(PreparedData.load(tmp_path).train.frame)
    lying(tmp_path / f"{name}.parquet")
    with pytest.raises(ArtifactError, match=r"does not hold prepared data .*unpack") as caught:
        PreparedData.load(tmp_path)
    assert "\n" not in str(caught.value)


def _empty():
    from bids_core.data.splits import SCHEMA, Split

    return Split(SCHEMA.empty_table().to_pandas())


def test_prepared_data_whose_dictionary_repeats_a_long_text_is_one_line(tmp_path):
    PreparedData(*(_empty() for _ in range(3))).save(tmp_path)
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), ["x" * 200_000])
    columns = {"row_id": pa.array([str(i) for i in range(20_000)]), "messages": long}
    pq.write_table(pa.table(columns), tmp_path / "train.parquet", compression="zstd")
    assert (tmp_path / "train.parquet").stat().st_size < 1 << 20
    with pytest.raises(ArtifactError, match="unpack to more than"):
        PreparedData.load(tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text()) == {}
