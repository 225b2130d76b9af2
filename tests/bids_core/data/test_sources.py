from __future__ import annotations

import json

import datasets
import pytest

from bids_core.data.sources import find_sources, input_digests
from bids_core.errors import ConfigError, DataError

ROW = {"prompt": "q", "completion": "a"}


@pytest.fixture
def files(write):
    for name in ("train.jsonl", "val.jsonl", "sub/train.jsonl", "sub/more.jsonl"):
        write(name, [ROW])


def names(config, tmp_path):
    return [source.name for source in find_sources(config, tmp_path)]


def test_default_names(files, tmp_path, make_config):
    config = make_config(["train.jsonl", "sub", {"path": "sub/*.jsonl", "name": "again"}])
    assert names(config, tmp_path) == ["train", "sub", "again", "val0"]


def test_glob_is_named_after_its_fixed_folder(files, tmp_path, make_config):
    assert names(make_config(["sub/*.jsonl"]), tmp_path)[0] == "sub"
    assert names(make_config(["s*/train.jsonl"]), tmp_path)[0] == tmp_path.name


def test_hub_name(tmp_path, files, make_config):
    config = make_config(["hf:org/some_data:main"])
    assert names(config, tmp_path)[0] == "some_data-main"


def test_two_sources_of_one_name_are_refused(files, tmp_path, make_config):
    with pytest.raises(ConfigError, match=r"two pool sources are named 'train' \(train.jsonl and"):
        find_sources(make_config(["train.jsonl", "sub/train.jsonl"]), tmp_path)


def test_one_task_of_two_files_needs_names(files, tmp_path, make_config):
    tasks = [{"path": f"{d}train.jsonl", "task": "t", "capability": "c"} for d in ("", "sub/")]
    with pytest.raises(ConfigError, match="give one of them another `name`"):
        find_sources(make_config(["train.jsonl"], tasks), tmp_path)
    tasks[1]["name"] = "t-more"
    assert names(make_config(["train.jsonl"], tasks), tmp_path) == ["train", "t", "t-more"]


def test_split_is_for_data_sets(files, tmp_path, make_config):
    with pytest.raises(ConfigError, match="`split` is only for datasets"):
        find_sources(make_config([{"path": "train.jsonl", "split": "train"}]), tmp_path)


def test_digests_are_json_and_know_no_paths(files, tmp_path, make_config):
    digests = input_digests(make_config(["train.jsonl"]), tmp_path)
    assert set(digests) == {"pool", "validation", "test"}
    text = json.dumps(digests)
    assert str(tmp_path) not in text
    assert "jsonl" not in text


def test_digests_do_not_change_when_files_move(files, tmp_path, make_config, write):
    write("elsewhere/train.jsonl", [ROW])
    here = input_digests(make_config(["train.jsonl"]), tmp_path)
    assert input_digests(make_config(["elsewhere/train.jsonl"]), tmp_path) == here


@pytest.mark.parametrize(
    "change",
    [
        {"limit": 1}, {"start": 1}, {"format": "alpaca"}, {"mapping": {"id": "x"}},
        {"strip_suffix": "x"}, {"sample_seed": 1}, {"name": "other"},
    ],
)  # fmt: skip
def test_digests_change_with_every_setting_that_matters(files, tmp_path, make_config, change):
    before = input_digests(make_config(["train.jsonl"]), tmp_path)
    after = input_digests(make_config([{"path": "train.jsonl"} | change]), tmp_path)
    assert before["pool"] != after["pool"]
    assert before["validation"] == after["validation"]


def test_digests_change_with_content_and_not_with_scoring(files, tmp_path, make_config, write):
    test = {"path": "val.jsonl", "max_new_tokens": 8}
    before = input_digests(make_config(["train.jsonl"], test=[test]), tmp_path)
    test = {"path": "val.jsonl", "max_new_tokens": 9, "answer_pattern": "x"}
    assert input_digests(make_config(["train.jsonl"], test=[test]), tmp_path) == before
    write("val.jsonl", [ROW, ROW])
    after = input_digests(make_config(["train.jsonl"], test=[test]), tmp_path)
    assert (before["pool"], before["test"]) != (after["pool"], after["test"])
    assert before["pool"] == after["pool"]


def test_digests_report_what_is_missing(files, tmp_path, make_config, monkeypatch):
    monkeypatch.delenv("NOT_SET_HERE", raising=False)
    with pytest.raises(ConfigError, match="NOT_SET_HERE"):
        input_digests(make_config(["${NOT_SET_HERE}/x.jsonl"]), tmp_path)
    with pytest.raises(DataError, match=r"pool source 'gone\.jsonl': gone\.jsonl does not exist"):
        input_digests(make_config(["gone.jsonl"]), tmp_path)


def test_datasets_folder_is_digested_by_content(files, tmp_path, make_config):
    for name, text in (("one", "a"), ("two", "a"), ("three", "b")):
        datasets.Dataset.from_list([{"prompt": "q", "completion": text}]).save_to_disk(
            tmp_path / name
        )
    one, two, three = (
        input_digests(make_config([{"path": n, "name": "p"}]), tmp_path)["pool"]
        for n in ("one", "two", "three")
    )
    assert one == two != three


def test_a_pool_folder_that_takes_in_held_out_files_is_refused(files, tmp_path, make_config):
    tasks = [{"path": "sub/more.jsonl", "task": "t"}]
    said = r"pool source 'sub' includes sub/more.jsonl, a file of validation source t; give the"
    with pytest.raises(ConfigError, match=said):
        find_sources(make_config(["sub"], tasks), tmp_path)
    find_sources(make_config(["sub"], tasks, overlap="drop"), tmp_path)
    find_sources(make_config(["sub/train.jsonl", "sub/more.jsonl"], tasks), tmp_path)
