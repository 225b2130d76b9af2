from __future__ import annotations

import json

import datasets
import numpy as np
import pytest

from bids_core.data import REASONS, PreparedData, prepare
from bids_core.data.rejects import RejectedRow
from bids_core.errors import ConfigError, DataError, ModelError

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def good(i, **more):
    return {"prompt": f"Question {i}?", "completion": f"Answer {i}."} | more


@pytest.fixture
def run(write, tmp_path, make_config, tokenizer):
    """Prepare a pool, a validation and a test file, and check that no row is lost."""

    def _run(pool, validation=None, test=None, *, options=None, **data):
        write("pool.jsonl", pool)
        write("val.jsonl", [good("v")] if validation is None else validation)
        tests = [] if test is None else [{"path": write("test.jsonl", test)}]
        source = {"path": "pool.jsonl"} | (options or {})
        config = make_config([source], test=tests, **data)
        prepared = prepare(config, tokenizer, base_dir=tmp_path)
        for account in prepared.summary["sources"]:
            parts = ("kept", "rejected", "skipped", "cut")
            assert account["read"] == sum(account[part] for part in parts)
        for name in ("train", "validation", "test"):
            split, own = getattr(prepared, name), [r for r in prepared.rejects if r.split == name]
            accounts = [a for a in prepared.summary["sources"] if a["split"] == name]
            assert len(split) == sum(account["kept"] for account in accounts)
            assert len(own) == sum(account["rejected"] for account in accounts)
            assert len(set(split.row_ids)) == len(split)
        return prepared

    return _run


def test_from_files_to_tokens(run, tokenizer):
    prepared = run([good(i) for i in range(3)], test=[good("t")])
    assert prepared.train.row_ids == ["pool:1", "pool:2", "pool:3"]
    assert prepared.validation.frame["task"].tolist() == ["val0"]
    assert prepared.test.frame["source"].tolist() == ["test0"]
    first = prepared.train.examples()[0]
    assert tokenizer.decode(first.labels[first.labels != -100]) == "Answer 0.<|im_end|>"
    assert prepared.train.frame["location"].tolist()[0] == "pool.jsonl:1"


def test_every_kind_of_bad_row_is_one_listed_reject(run):
    bad = {
        '{"prompt": "x", ': "malformed-json",
        '["x"]': "not-an-object",
        '{"prompt": "\\ud800", "completion": "x"}': "not-utf8",
        '{"prompt": "\\u0000", "completion": "x"}': "null-bytes",
        '{"prompt": "x"}': "missing-field",
        '{"prompt": "x", "completion": 3}': "wrong-type",
        '{"messages": [{"role": "x", "content": "x"}]}': "unknown-role",
        '{"messages": [{"role": "user", "content": [{"type": "image"}]}]}': "unsupported-content",
        '{"messages": [{"role": "user", "content": "x"}]}': "no-assistant-turn",
        '{"messages": [{"role": "assistant", "content": "x"}]}': "no-user-turn",
        '{"prompt": [{"role": "user", "content": "x"}], "completion": '
        '[{"role": "assistant", "content": "x"}, {"role": "user", "content": "x"}]}':
            "last-turn-not-assistant",
        '{"prompt": " ", "completion": "x"}': "empty-prompt",
        '{"prompt": "x", "completion": ""}': "empty-completion",
        '{"prompt": "x", "completion": "x", "id": "twice"}': "duplicate-id",
        json.dumps({"prompt": LONG * 30, "completion": "x"}): "completion-truncated",
    }  # fmt: skip
    prepared = run([good(0, id="twice"), *bad, good(1)], max_length=256)
    assert [reject.reason for reject in prepared.rejects] == [
        *(reason for reason in bad.values() if reason != "completion-truncated"),
        "completion-truncated",  # found later, when all is tokenized
    ]
    assert {reject.location for reject in prepared.rejects} == {
        f"pool.jsonl:{line}" for line in range(2, 2 + len(bad))
    }
    assert all(reject.reason in REASONS and reject.detail for reject in prepared.rejects)
    assert len(prepared.train) == 2
    assert prepared.summary["rejects"]["train"]["empty-prompt"] == 1
    assert prepared.summary["reject_total"] == len(bad)


def test_unknown_reasons_are_a_bug():
    with pytest.raises(ValueError, match="not a known reject reason"):
        RejectedRow("whatever", "x")


def test_one_bad_line_in_a_thousand(run, tmp_path):
    lines = [json.dumps(good(i)).encode() for i in range(1000)]
    lines[500] = b'{"prompt": "caf\xe9", "completion": "x"}'
    prepared = run(b"\n".join(lines))
    assert len(prepared.train) == 999
    assert [r.reason for r in prepared.rejects] == ["not-utf8"]
    prepared.save(tmp_path / "out")
    assert len(PreparedData.load(tmp_path / "out").train) == 999


@pytest.mark.parametrize(
    ("pool", "validation", "message"),
    [
        ([], None, r"^the pool has no usable row: 0 rows read from pool.jsonl; give it a file"),
        (["x", '{"a": 1}', "y"], None,
         r"^the pool has no usable row: 3 rows read from pool.jsonl; 3 rows were rejected, 2 of"
         r" them as malformed-json, the first at pool.jsonl:1: .*one JSON object per line"),
        ([good(0)], [good(1, completion="")],
         r"^validation task 'val0' has no usable row: 1 rows read from val.jsonl; 1 rows were"
         r" rejected, 1 of them as empty-completion, the first at val.jsonl:1: .*add the answer"),
        ([good(0, prompt=LONG * 30)], None, r"completion-truncated, the first at pool.jsonl:1: .*"
         r"raise it or shorten the prompt"),
    ],
)  # fmt: skip
def test_nothing_left_stops_in_one_line(run, pool, validation, message):
    with pytest.raises(DataError, match=message) as caught:
        run(pool, validation, max_length=256)
    assert "\n" not in str(caught.value)


def test_test_task_without_rows_stops(run):
    with pytest.raises(DataError, match=r"^test task 'test0' has no usable row"):
        run([good(0)], test=[])


def test_start_behind_the_end_is_named(run):
    with pytest.raises(DataError, match=r"2 of them skipped by `start`.*lower `start`"):
        run([good(0), good(1)], options={"start": 5})


def test_overlap_is_listed_and_kept(run):
    prepared = run([good("v"), good(1, prompt=f"Say {LONG}.")], test=[good(0, prompt=LONG)])
    assert len(prepared.train) == 2
    assert prepared.overlap["kind"].tolist() == ["exact", "ngram"]
    assert prepared.summary["overlap"]["train/validation"] == {
        "pairs": 1, "rows": 1, "other_rows": 1, "by_kind": {"exact": 1}, "by_task": {"val0": 1},
    }  # fmt: skip


def test_overlap_is_dropped(run):
    pool = [good("v"), good(1, prompt=f"Say {LONG}."), good(2)]
    prepared = run(pool, test=[good(0, prompt=LONG)], overlap="drop")
    assert prepared.train.row_ids == ["pool:3"]
    assert [(r.reason, r.row_id, r.location) for r in prepared.rejects] == [
        ("overlap-validation", "pool:1", "pool.jsonl:1"),
        ("overlap-test", "pool:2", "pool.jsonl:2"),
    ]
    assert "its prompt with validation row val0:1 of task val0" in prepared.rejects[0].detail
    assert len(prepared.overlap) == 2
    with pytest.raises(DataError, match="overlap-validation"):
        run(pool[:1], overlap="drop")


def test_summary_is_json_and_adds_up(run):
    prepared = run([good(i) for i in range(4)], options={"start": 1, "limit": 2})
    summary = json.loads(json.dumps(prepared.summary, allow_nan=False))
    assert summary["rows"]["train"] == {
        "total": 2, "by_source": {"pool": 2}, "by_task": {}, "by_capability": {},
    }  # fmt: skip
    lengths = prepared.train.frame["n_tokens"]
    assert summary["tokens"]["train"]["total"] == lengths.sum()
    assert summary["tokens"]["train"]["max"] == lengths.max()
    assert summary["tokens"]["test"]["total"] == 0
    assert summary["sources"][0]["skipped"] == summary["sources"][0]["cut"] == 1


def test_truncated_rows_are_kept_and_counted(run):
    prepared = run([good(0, completion=LONG * 50), good(1)], max_length=128)
    assert prepared.summary["truncated"] == {"train": 1, "validation": 0, "test": 0}
    assert prepared.train.frame["n_tokens"].max() == 128


def test_same_input_same_output(run):
    pool = [good(i) for i in range(30)]
    one, two = (run(pool, options={"limit": 9, "sample_seed": 1}) for _ in range(2))
    assert one.train.frame.drop(columns=["input_ids", "labels"]).equals(
        two.train.frame.drop(columns=["input_ids", "labels"])
    )
    assert all(map(np.array_equal, one.train.frame["input_ids"], two.train.frame["input_ids"]))


def test_datasets_folder(write, tmp_path, make_config, tokenizer):
    write("val.jsonl", [good("v")])
    datasets.Dataset.from_list([good(0), good(1)]).save_to_disk(tmp_path / "pool")
    prepared = prepare(make_config(["pool"]), tokenizer, base_dir=tmp_path)
    assert prepared.train.row_ids == ["pool:1", "pool:2"]
    assert prepared.train.frame["location"].tolist() == ["pool:1", "pool:2"]


def test_progress_reaches_the_end(write, tmp_path, make_config, tokenizer):
    write("pool.jsonl", [good(i) for i in range(5)])
    write("val.jsonl", [good("v")])
    seen = []
    prepare(
        make_config(["pool.jsonl"]), tokenizer, base_dir=tmp_path,
        on_progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(i, 6) for i in range(1, 7)]


def test_bad_configs_stop_before_anything_is_read(
    write, tmp_path, make_config, tokenizer, tokenizer_with, monkeypatch
):
    monkeypatch.delenv("NOT_SET_HERE", raising=False)
    write("pool.jsonl.gz", b"not gzip, which would be noticed on reading")
    write("val.jsonl", [good("v")])
    pool = {"path": "pool.jsonl.gz", "mapping": {"wrong": "x"}}
    with pytest.raises(ConfigError, match="mapping has no key 'wrong'"):
        prepare(make_config([pool]), tokenizer, base_dir=tmp_path)
    with pytest.raises(ConfigError, match="NOT_SET_HERE"):
        prepare(make_config(["${NOT_SET_HERE}/x.jsonl"]), tokenizer, base_dir=tmp_path)
    with pytest.raises(ModelError, match="no chat template"):
        prepare(make_config(["pool.jsonl.gz"]), tokenizer_with(None), base_dir=tmp_path)
    with pytest.raises(DataError, match=r"^pool.jsonl.gz: the file cannot be read"):
        prepare(make_config(["pool.jsonl.gz"]), tokenizer, base_dir=tmp_path)


def test_pool_files_of_a_glob_count_as_one_source_each_unless_it_is_named(
    write, tmp_path, make_config, tokenizer
):
    for name in ("a", "b"):
        write(f"pool/{name}.jsonl", [good(i, id=f"{name}{i}") for i in range(2)])
    write("validation.jsonl", [good(9)])
    validation = [{"task": "t", "capability": "c", "path": "validation.jsonl"}]
    config = make_config([{"path": "pool/*.jsonl"}], validation)
    frame = prepare(config, tokenizer, base_dir=tmp_path).train.frame
    assert frame["source"].tolist() == ["a", "a", "b", "b"]
    config = make_config([{"path": "pool/*.jsonl", "name": "mine"}], validation)
    frame = prepare(config, tokenizer, base_dir=tmp_path).train.frame
    assert frame["source"].tolist() == ["mine"] * 4
