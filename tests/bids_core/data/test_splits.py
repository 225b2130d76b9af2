from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from bids_core.data.overlap import COLUMNS, as_report
from bids_core.data.splits import SCHEMA, PreparedData, Split
from bids_core.errors import ArtifactError
from bids_core.records import IGNORED_LABEL, Reject, TokenizedExample


def tokens(row_id, n):
    ids = np.arange(n, dtype=np.int32)
    labels = np.where(ids < n // 2, IGNORED_LABEL, ids).astype(np.int32)
    return TokenizedExample(row_id, ids, labels)


@pytest.fixture
def split(make_example):
    examples = [
        make_example("ü\u2028", row_id="a", task="t", capability="c", choices=("x", "y")),
        make_example("q", row_id="b"),
    ]
    return Split.of(examples, [tokens("a", 5), tokens("b", 2)])


def test_split_holds_what_it_was_made_of(split):
    assert list(split.frame.columns) == SCHEMA.names
    assert (len(split), split.row_ids) == (2, ["a", "b"])
    first, second = split.frame.to_dict("records")
    assert (first["task"], second["task"], second["choices"]) == ("t", None, None)
    assert json.loads(first["choices"]) == ["x", "y"]
    assert json.loads(first["messages"])[0] == {"role": "user", "content": "ü\u2028"}
    assert (first["n_tokens"], first["n_completion_tokens"]) == (5, 3)
    assert [example.row_id for example in split.examples()] == ["a", "b"]
    assert split.without({"a"}).row_ids == ["b"]


def test_save_and_load_change_nothing(split, tmp_path):
    overlap = as_report([[0.5 if name == "share" else "x" for name in COLUMNS]])
    rejects = [Reject("f:1", "missing-field", "détail\u2028", "train", "s"),
               Reject("f:2", "duplicate-id", "d", "train", "s", "id")]  # fmt: skip
    data = PreparedData(split, split.without({"b"}), split.without({"a", "b"}),
                        rejects, overlap, {"rows": {"é": 1}})  # fmt: skip
    data.save(tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "overlap.parquet", "rejects.jsonl", "summary.json", "test.parquet", "train.parquet",
        "validation.parquet",
    ]  # fmt: skip
    loaded = PreparedData.load(tmp_path / "new")
    for name in ("train", "validation", "test"):
        saved, read = getattr(data, name), getattr(loaded, name)
        pd.testing.assert_frame_equal(saved.frame, read.frame)
        for one, two in zip(saved.examples(), read.examples(), strict=True):
            assert one.row_id == two.row_id
            assert one.input_ids.dtype == two.input_ids.dtype == np.int32
            assert one.labels.tolist() == two.labels.tolist()
    pd.testing.assert_frame_equal(loaded.overlap, overlap)
    assert (loaded.rejects, loaded.summary) == (rejects, data.summary)


def test_saving_twice_gives_the_same_bytes(split, tmp_path):
    data = PreparedData(split, split, split)
    for name in ("one", "two"):
        data.save(tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_folder_without_prepared_data_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="does not hold prepared data"):
        PreparedData.load(tmp_path)
