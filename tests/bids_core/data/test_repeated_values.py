"""Parquet files of kilobytes in which one long value stands everywhere: in lists, in structs, in
bytes of fixed length; rows of nothing; and tables of artifacts of that kind.
"""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bids_core.config import ReadLimits
from bids_core.data import read_table, require_bounded
from bids_core.data.bounded import decoded_bytes, parquet_rows
from bids_core.data.locate import InputFile
from bids_core.errors import ArtifactError, DataError

COUNT, LONG = 200_000, "x" * 200_000


def repeated(count=COUNT):
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), [LONG])


def lists(array, length):
    return pa.ListArray.from_arrays(np.arange(0, len(array) + 1, length, dtype=np.int32), array)


def files(folder):
    """Write each kind of file; returns their paths by kind."""
    folder.mkdir(exist_ok=True)
    plain = {"prompt": repeated()}
    one_list = {"turns": lists(repeated(), COUNT)}  # a row of 40 GB
    many = {"turns": lists(repeated(), 50)}
    struct = {"turn": pa.StructArray.from_arrays([repeated()], ["content"])}
    nested = {"turns": lists(lists(repeated(), 10), 10)}
    fixed = pa.array([b"y" * 1_000_000] * 3, pa.binary(1_000_000))
    bytes_ = {"prompt": fixed.take(pa.array(np.zeros(1, np.int32)))}
    found = {}
    for name, columns in [
        ("plain", plain), ("one list", one_list), ("lists", many), ("structs", struct),
        ("lists of lists", nested), ("fixed", bytes_),
    ]:  # fmt: skip
        path = folder / f"{name.replace(' ', '-')}.parquet"
        pq.write_table(pa.table(columns), path, compression="zstd")
        found[name] = path
    return found


PROGRAM = """
import json, resource, sys
from pathlib import Path
from bids_core.config import ReadLimits
from bids_core.data import read_table
from bids_core.data.bounded import parquet_rows
from bids_core.data.locate import InputFile
from bids_core.data.rejects import RejectedRow
from bids_core.errors import ArtifactError, DataError
limit = 6 << 30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
read_table(Path(sys.argv[1]))
for path in map(Path, sys.argv[2:]):
    for how in ("rows", "table"):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            if how == "rows":
                rows = list(parquet_rows(InputFile(path, path.name), ReadLimits()))
                said = f"{sum(isinstance(row, RejectedRow) for row in rows)} rejects"
            else:
                said = f"{len(read_table(path))} rows"
        except (ArtifactError, DataError) as error:
            said = str(error)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(json.dumps([how, path.stem, said, used // 1024]), flush=True)
"""


def test_each_is_one_line_or_a_reject_within_memory(tmp_path):
    pd.DataFrame({"task": ["a"]}).to_parquet(tmp_path / "good.parquet")
    found = files(tmp_path / "bad")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "good.parquet"), *map(str, found.values())],
        capture_output=True, text=True,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 2 * len(found), (lines[-1:], done.stderr[-500:])
    for how, name, said, megabytes in lines:
        assert megabytes < 700, (how, name, megabytes)
        if name != "fixed":
            assert "unpack to more than" in said, (how, name, said)
            assert "\n" not in said


@pytest.mark.parametrize("kind", ["plain", "lists"])
def test_values_of_fixed_length_count_wherever_they_stand(tmp_path, kind):
    values = pa.array([b"y" * 100_000] * 4000, pa.binary(100_000))
    column = values if kind == "plain" else lists(values, 4)
    pq.write_table(pa.table({"a": column}), tmp_path / "x.parquet", compression="zstd")
    with pytest.raises(DataError, match="unpack to more than"):
        list(parquet_rows(InputFile(tmp_path / "x.parquet", "x"), ReadLimits()))


def test_rows_of_nothing_count_too(tmp_path):
    pq.write_table(pa.table({"a": pa.nulls(200_000_000)}), tmp_path / "x.parquet")
    assert (tmp_path / "x.parquet").stat().st_size < 1 << 20
    with pytest.raises(DataError, match="unpack to more than"):
        require_bounded(tmp_path / "x.parquet")
    with pytest.raises(DataError, match="unpack to more than"):
        next(parquet_rows(InputFile(tmp_path / "x.parquet", "x"), ReadLimits()))


def test_rows_come_out_as_pyarrow_reads_them(tmp_path):
    rng = np.random.default_rng(0)
    texts = ["a", "", None, "long " * 40, "\u00e9"]

    def some(make):
        return [None if rng.random() < 0.2 else make() for _ in range(500)]

    def text():
        return texts[rng.integers(len(texts))]

    columns = {
        "text": pa.array(some(text)), "category": pa.array(some(text)).dictionary_encode(),
        "list": pa.array(some(lambda: [text() for _ in range(rng.integers(4))])),
        "struct": pa.array(some(lambda: {"a": text(), "b": [text()], "n": 1})),
        "turns": pa.array(some(lambda: [{"role": text(), "content": text()}])),
        "map": pa.array(some(lambda: [("k", text())]), pa.map_(pa.string(), pa.string())),
        "deep": pa.array(some(lambda: [[text()], None])), "binary": pa.array(some(lambda: b"x")),
        "fixed": pa.array(some(lambda: b"abcd"), pa.binary(4)),
        "pair": pa.array(some(lambda: ["a", text()]), pa.list_(pa.string(), 2)),
        "large": pa.array(some(text), pa.large_string()),
        "view": pa.array(some(text), pa.string_view()),
        "date": pa.array(some(lambda: 1), pa.date32()), "flag": pa.array(some(lambda: True)),
        "number": pa.array(some(rng.normal)),
        "decimal": pa.array(some(lambda: 1), pa.decimal128(9)),
        "whole": pa.array(some(lambda: 7)), "null": pa.nulls(500),
    }  # fmt: skip
    table = pa.table(columns)
    for number, options in enumerate([{}, {"use_dictionary": False}, {"row_group_size": 33}]):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(table, path, **options)
        wanted = pq.read_table(path).to_pylist()
        for limit in (1 << 24, 2_000):  # whole batches, and row by row
            found = list(parquet_rows(InputFile(path, "x"), ReadLimits(row_bytes=limit)))
            assert found == wanted
        pd.testing.assert_frame_equal(read_table(path), pd.read_parquet(path))
        require_bounded(path)


def test_what_is_decoded_is_what_is_counted():
    texts = pa.array(["a" * 10, "b" * 30, "a" * 10, None])
    shared = texts.dictionary_encode()
    for array in (
        texts,
        texts.dictionary_encode(),
        lists(texts, 2),
        lists(texts.dictionary_encode(), 2),
    ):
        counted = decoded_bytes(pa.record_batch([array], names=["x"]))
        assert 50 <= counted <= 50 + 16 * len(texts)
    whole = pa.record_batch([lists(shared, 2)], names=["x"])
    assert 10 <= decoded_bytes(whole.slice(1, 1)) < 40


def test_a_table_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(ArtifactError, match=r"gone.parquet cannot be read .*; make it again"):
        read_table(tmp_path / "gone.parquet")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(ArtifactError, match="cannot be read") as caught:
        read_table(tmp_path / "x.parquet")
    assert "\n" not in str(caught.value)
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "y.parquet")
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_table(tmp_path / "y.parquet", columns=["b"])
