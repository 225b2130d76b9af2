"""Files that unpack to too much, lines and rows without an end: each ends in one clear line."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bids_core.config import ReadLimits
from bids_core.data import bounded
from bids_core.data.locate import InputFile
from bids_core.data.reading import read_rows
from bids_core.data.rejects import RejectedRow
from bids_core.errors import DataError

LIMITS = ReadLimits(row_bytes=100, document_bytes=1000, ratio=10)
GOOD = b'{"prompt": "q", "completion": "a"}\n'
LONG = b'{"prompt": "' + b"x" * 200 + b'"}\n'


def read(path, limits=LIMITS):
    """Return (number, fields or reject reason) of each row."""
    found = []
    for raw in read_rows(InputFile(path, path.name), limits=limits):
        try:
            found.append((raw.number, raw.parse()))
        except RejectedRow as problem:
            found.append((raw.number, problem.reason))
    return found


def reasons(path, **options):
    return [row if isinstance(row, str) else "fine" for _, row in read(path, **options)]


@pytest.mark.parametrize("pack", ["", ".gz", ".zst"])
def test_a_line_that_is_too_long_costs_its_row(tmp_path, pack):
    data = GOOD + LONG + GOOD + LONG.strip()
    path = tmp_path / f"x.jsonl{pack}"
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[pack]
    path.write_bytes(pack(data))
    assert [number for number, _ in read(path)] == [1, 2, 3, 4]
    assert reasons(path) == ["fine", "row-too-long", "fine", "row-too-long"]


def test_a_line_of_just_the_limit_is_a_row(tmp_path):
    row = b'{"p": "' + b"x" * (100 - 9) + b'"}'
    assert len(row) == 100
    for end in (b"", b"\n"):
        (tmp_path / "x.jsonl").write_bytes(row + end)
        assert reasons(tmp_path / "x.jsonl") == ["fine"]
    (tmp_path / "x.jsonl").write_bytes(b" " + row + b"\n" + GOOD)
    assert reasons(tmp_path / "x.jsonl")[1:] == ["fine"]


@pytest.mark.parametrize("long", ["x" * 200, '"' + "x" * 60 + "\n" + "y" * 60 + '"'])
def test_a_csv_row_that_is_too_long_costs_its_row(tmp_path, long):
    path = tmp_path / "x.csv"
    path.write_text(f"prompt,completion\na,b\n{long},c\nd,e\n")
    found = read(path)
    assert found[0] == (2, {"prompt": "a", "completion": "b"})
    assert found[1] == (3, "row-too-long")
    assert found[-1][1] == {"prompt": "d", "completion": "e"}


def test_a_quote_that_is_never_closed_costs_no_more_than_it_must(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('prompt,completion\n"open,b\n' + "c,d\n" * 200)
    found = read(path)
    assert [row for _, row in found].count({"prompt": "c", "completion": "d"}) == 200
    assert found[0] == (2, "row-too-long")


def test_a_csv_header_without_an_end_is_one_line(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("x" * 1000)
    with pytest.raises(DataError, match="x.csv: the header cannot be read"):
        read(path)


def test_rows_of_a_json_document_are_bounded_and_so_is_the_document(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"p": "a"}, {"p": "x" * 200}, {"p": "b"}]))
    assert reasons(path) == ["fine", "row-too-long", "fine"]
    path.write_text(json.dumps([{"p": "a"}] * 200))
    with pytest.raises(DataError, match=r"x.json: longer than 1,000 bytes.*write it as JSONL"):
        read(path)


def test_rows_of_a_parquet_file_are_bounded(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"p": ["a", "x" * 200, "b"]}), path)
    assert reasons(path) == ["fine", "row-too-long", "fine"]


@pytest.fixture
def suspicious(monkeypatch):
    monkeypatch.setattr(bounded, "_UNSUSPICIOUS", 1 << 20)


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.jsonl.zst", "x.csv.gz", "x.json.zst"])
@pytest.mark.parametrize("content", [b"x" * (1 << 24), GOOD * (1 << 19)], ids=["line", "rows"])
def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path, suspicious, name, content):
    path = tmp_path / name
    path.write_bytes((gzip if name.endswith("gz") else zstandard).compress(content))
    limits = ReadLimits(ratio=10)
    with pytest.raises(DataError, match=rf"{name}: its [\d,]+ bytes unpack .* `limits.ratio`"):
        read(path, limits)


def test_a_frame_after_a_frame_counts_too(tmp_path, suspicious):
    path = tmp_path / "x.jsonl.zst"
    path.write_bytes(zstandard.compress(GOOD * 1000) * 500)
    with pytest.raises(DataError, match="unpack to more"):
        read(path, ReadLimits(ratio=10))


@pytest.mark.parametrize(
    "table",
    [
        {"p": ["x" * 1_000_000] * 20},
        {"p": pa.array(["x" * 1_000_000] * 20).dictionary_encode()},
        {"p": pa.nulls(3_000_000, pa.string())},
        {"p": pa.array([[None] * 3_000_000], pa.list_(pa.int8()))},
    ],
    ids=["text", "dictionary", "nulls", "list"],
)
def test_a_small_parquet_file_of_much_is_refused(tmp_path, suspicious, table):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table(table), path, compression="zstd")
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match=r"x.parquet: its [\d,]+ bytes unpack"):
        read(path, ReadLimits(ratio=10))


def test_parquet_rows_are_read_a_few_at_a_time_where_they_may_be_long(tmp_path, monkeypatch):
    """One dictionary entry, repeated: no batch may hold more of it than the budget."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"p": ["x" * 10_000] * 500}), path)
    monkeypatch.setattr(bounded, "_BATCH_BYTES", 50_000)
    seen, real = [], bounded._rows_of
    monkeypatch.setattr(
        bounded,
        "_rows_of",
        lambda batch, limits: (seen.append(batch.nbytes), *real(batch, limits))[1:],
    )
    assert len(read(path, ReadLimits())) == 500
    assert max(seen) <= 60_000


BOMB = """
import resource, sys, gzip, zstandard
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from bids_core.data.locate import InputFile
from bids_core.data.reading import read_rows
from bids_core.errors import DataError
path = Path(sys.argv[1])
try:
    for row in read_rows(InputFile(path, path.name)):
        pass
except DataError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.jsonl.zst", "x.csv.gz"])
def test_a_line_without_an_end_takes_no_memory_with_the_limits_as_they_come(tmp_path, name):
    """1 GiB of one line, in an address space of 2 GiB."""
    path = tmp_path / name
    block = b"x" * (1 << 22)
    if name.endswith("gz"):
        with gzip.open(path, "wb", compresslevel=1) as file:
            for _ in range(256):
                file.write(block)
    else:
        with path.open("wb") as raw, zstandard.ZstdCompressor().stream_writer(raw) as file:
            for _ in range(256):
                file.write(block)
    done = subprocess.run(
        [sys.executable, "-c", BOMB, path], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"{name}: " in done.stdout
    assert done.stdout.count("\n") == 1


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(lines=st.lists(st.binary(max_size=200).filter(lambda line: b"\n" not in line), max_size=8))
def test_every_line_is_accounted_for(tmp_path, lines):
    """Whatever the bytes: as many rows as lines that are not blank, with their own numbers."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    if lines:
        lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
    kept = [n for n, line in enumerate(lines, 1) if line.strip() or len(line) > LIMITS.row_bytes]
    assert [number for number, _ in read(path)] == kept


def test_csv_within_the_limits_is_read_as_the_csv_module_reads_it(tmp_path):
    path = tmp_path / "x.csv"
    rows = [{"a": f'"{n}",\n{n}', "b": "x" * (n % 30)} for n in range(300)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["a", "b"])
        writer.writeheader()
        writer.writerows(rows)
    assert [row for _, row in read(path)] == rows
