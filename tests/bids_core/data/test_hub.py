from __future__ import annotations

import datasets
import pytest

from bids_core.data.hub import open_dataset, read_dataset
from bids_core.errors import DataError

ROWS = [{"prompt": "q", "completion": "a"}, {"prompt": "r", "completion": "b"}]


def test_folder_of_one_split(tmp_path):
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "d")
    dataset = open_dataset(tmp_path / "d", split=None, where="pool source 'd'")
    rows = list(read_dataset(dataset, tmp_path / "d"))
    assert [row.parse() for row in rows] == ROWS
    assert [row.location for row in rows] == ["d:1", "d:2"]
    assert [row.label for row in rows] == ["1", "2"]


def test_one_split_under_another_name(tmp_path):
    datasets.Dataset.from_list(ROWS, split="train").save_to_disk(tmp_path / "d")
    assert len(open_dataset(tmp_path / "d", split="train", where="w")) == 2
    with pytest.raises(DataError, match="holds no split 'dev' \\(it is one split: train\\)"):
        open_dataset(tmp_path / "d", split="dev", where="w")


def test_folder_of_several_splits(tmp_path):
    split = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": split, "dev": split.select([1])}).save_to_disk(tmp_path / "d")
    assert len(open_dataset(tmp_path / "d", split="dev", where="w")) == 1
    with pytest.raises(DataError, match="has several splits; set `split` to one of: train, dev"):
        open_dataset(tmp_path / "d", split=None, where="w")
    with pytest.raises(DataError, match="has no split 'x'; set `split` to one of: train, dev"):
        open_dataset(tmp_path / "d", split="x", where="w")


def test_damaged_folder_is_one_line(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "state.json").write_text("{}")
    with pytest.raises(DataError, match="can not be loaded") as caught:
        open_dataset(tmp_path / "d", split=None, where="pool source 'd'")
    assert "\n" not in str(caught.value)


def test_hub_out_of_reach_is_one_line(monkeypatch):
    def refuse(*args):
        raise ConnectionError("Couldn't reach 'org/name' on the Hub\nlong trace")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(DataError) as caught:
        open_dataset("hf:org/name", split=None, where="pool source 'name'")
    assert str(caught.value).startswith("pool source 'name': the data set hf:org/name can not be")
    assert "download it" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_hub_name_and_config_are_told_apart(monkeypatch):
    asked = []

    def load(name, subset):
        asked.append((name, subset))
        return datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)})

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert len(open_dataset("hf:openai/gsm8k:main", split=None, where="w")) == 2
    open_dataset("hf:org/name", split="train", where="w")
    assert asked == [("openai/gsm8k", "main"), ("org/name", None)]
