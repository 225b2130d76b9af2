from __future__ import annotations

import csv
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bids_core.data.locate import InputFile
from bids_core.data.reading import parse_line, read_rows
from bids_core.data.rejects import RejectedRow
from bids_core.errors import ConfigError, DataError

ROWS = [{"prompt": "a", "completion": "b"}, {"prompt": "ü\n€", "completion": "日本"}]


def read(path, **options):
    """Return (number, fields or reject reason) of each row."""
    found = []
    for raw in read_rows(InputFile(path, path.name), **options):
        try:
            found.append((raw.number, raw.parse()))
        except RejectedRow as problem:
            found.append((raw.number, problem.reason))
    return found


def as_bytes(name):
    """Return `ROWS` in the format that a file name stands for."""
    if ".jsonl" in name:
        return "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    if ".json" in name:
        return json.dumps(ROWS, ensure_ascii=False, indent=1).encode()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text, ["prompt", "completion"], delimiter="\t" if "tsv" in name else ","
    )
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv", "x.tsv"])
@pytest.mark.parametrize("pack", ["", ".gz", ".zst"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_every_text_format_plain_and_compressed(tmp_path, name, pack, mark):
    data = mark + as_bytes(name)
    packed = {"": data, ".gz": gzip.compress(data), ".zst": zstandard.compress(data)}[pack]
    path = tmp_path / (name + pack)
    path.write_bytes(packed)
    assert [row for _, row in read(path)] == ROWS


def test_parquet_with_nested_messages(tmp_path):
    rows = [{"messages": [{"role": "user", "content": "q"}], "n": 1} for _ in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet") == [(i, rows[0]) for i in (1, 2, 3)]


def test_concatenated_gzip_and_zstd_members_are_read_whole(tmp_path):
    one, two = b'{"a": 1}\n', b'{"a": 2}\n'
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(one) + gzip.compress(two))
    (tmp_path / "x.jsonl.zst").write_bytes(zstandard.compress(one) + zstandard.compress(two))
    assert read(tmp_path / "x.jsonl.gz") == read(tmp_path / "x.jsonl.zst")
    assert len(read(tmp_path / "x.jsonl.zst")) == 2


def test_bad_lines_cost_one_row_each(tmp_path):
    good = b'{"a": 1}\n'
    lines = [
        good, b'{"a": \n', good, b"\n", b"[1]\n", b'"text"\n', b'{"a": "\xff"}\n',
        b'{"a": "\x00"}\n', b"[" * 100_000 + b"\n", good,
    ]  # fmt: skip
    (tmp_path / "x.jsonl").write_bytes(b"".join(lines))
    assert read(tmp_path / "x.jsonl") == [
        (1, {"a": 1}), (2, "malformed-json"), (3, {"a": 1}), (5, "not-an-object"),
        (6, "not-an-object"), (7, "not-utf8"), (8, "null-bytes"), (9, "malformed-json"),
        (10, {"a": 1}),
    ]  # fmt: skip


def test_details_say_what_and_how_to_mend():
    with pytest.raises(RejectedRow, match=r"byte 0xff at column 8 is not UTF-8; convert"):
        parse_line(b'{"a": "\xff"}')
    with pytest.raises(RejectedRow, match=r"Expecting value.*one JSON object per line"):
        parse_line(b'{"a": }')


@given(st.binary(max_size=60))
def test_any_bytes_are_a_row_or_a_reject(line):
    try:
        row, reason = parse_line(line), None
    except RejectedRow as problem:
        row, reason = None, problem.reason
    assert isinstance(row, dict) == (reason is None)
    assert reason in {None, "malformed-json", "not-an-object", "not-utf8", "null-bytes"}


def test_wrapped_json(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"canary": "c", "data": {"examples": ROWS}}))
    assert [row for _, row in read(path, records="data.examples")] == ROWS
    with pytest.raises(
        DataError, match=r"`records: data.rows` does not exist in the file .*found: examples"
    ):
        read(path, records="data.rows")
    path.write_text(json.dumps({"canary": "c", "examples": ROWS}))
    with pytest.raises(DataError, match=r"wrapped in an object; set `records`.*one of: examples"):
        read(path)


def test_json_file_that_holds_json_lines(tmp_path):
    (tmp_path / "x.json").write_bytes(as_bytes("x.jsonl") + b"oops\n")
    assert read(tmp_path / "x.json")[2] == (3, "malformed-json")
    (tmp_path / "x.json").write_text('{"messages": []}')
    assert read(tmp_path / "x.json") == [(1, {"messages": []})]


def test_json_rows_that_are_no_objects_are_rejected_alone(tmp_path):
    (tmp_path / "x.json").write_text('[{"a": 1}, 3, {"a": 2}]')
    assert read(tmp_path / "x.json") == [(1, {"a": 1}), (2, "not-an-object"), (3, {"a": 2})]


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv"])
def test_empty_files_have_no_rows(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    assert read(tmp_path / name) == []


def test_csv_columns_and_line_numbers(tmp_path):
    (tmp_path / "x.csv").write_text('a,b\n"two\nlines",x\nshort\n\n1,2,3\ny,z\n')
    assert read(tmp_path / "x.csv") == [
        (2, {"a": "two\nlines", "b": "x"}), (4, "csv-columns"), (6, "csv-columns"),
        (7, {"a": "y", "b": "z"}),
    ]  # fmt: skip


@pytest.mark.parametrize("bad", ['"open,b', 'x,"open', '"a"b,c'])
def test_a_stray_quote_costs_one_row(tmp_path, bad):
    lines = ["a,b"] + [f"q{i},r{i}" for i in range(6)] + ['"quoted","too"']
    lines[3] = bad
    (tmp_path / "x.csv").write_text("\n".join(lines) + "\n")
    found = read(tmp_path / "x.csv")
    assert [number for number, _ in found] == list(range(2, 9))
    assert [row for number, row in found if number == 4] == ["malformed-csv"]
    assert sum(isinstance(row, dict) for _, row in found) == 6


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.text(alphabet='ab",\r\n é', max_size=8), max_size=12))
def test_no_csv_line_is_lost(tmp_path, lines):
    """Every line that is not blank is (part of) a row or a reject, and numbers ascend."""
    (tmp_path / "x.csv").write_bytes(("a,b\n" + "\n".join(lines)).encode())
    numbers = [number for number, _ in read(tmp_path / "x.csv")]
    assert numbers == sorted(set(numbers))


def test_csv_header_twice(tmp_path):
    (tmp_path / "x.csv").write_text("a,a\n1,2\n")
    with pytest.raises(DataError, match="names a column twice"):
        read(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 1000, mtime=0)[:-20]),
        ("x.jsonl.gz", b"not gzip"),
        ("x.jsonl.zst", b"not zstd"),
        ("x.parquet", b"not parquet"),
        ("x.json", b'[{"a": 1},'),
        ("x.json", b"3"),
        ("x.parquet.gz", b""),
    ],
)
def test_damaged_files_are_named(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=f"^{name}: ") as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_records_is_for_json_documents(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b"")
    with pytest.raises(ConfigError, match="`records` is for JSON documents"):
        read(tmp_path / "x.jsonl", records="a")
