"""Public data sets in their original files, read where `BIDS_REAL_DATA` says they are."""

from __future__ import annotations

import pytest

from bids_core.data import from_json, prepare

pytestmark = pytest.mark.real_data

SUFFIX = "<|endoftext|>"


@pytest.fixture
def read(real_data, monkeypatch, make_config, tokenizer, tmp_path):
    """Prepare a pool, and one validation or test source, all of the real files."""

    def _read(pool=None, validation=None, test=None, **data):
        monkeypatch.setenv("SOME_FOLDER", str(real_data))
        small = {"path": "${SOME_FOLDER}/gsm8k/train.jsonl", "limit": 2}
        config = make_config(
            [pool or small], [validation or small | {"start": 10}], [test] if test else [],
            max_length=100_000, **data,
        )  # fmt: skip
        prepared = prepare(config, tokenizer, base_dir=tmp_path)
        for account in prepared.summary["sources"]:
            parts = ("kept", "rejected", "skipped", "cut")
            assert account["read"] == sum(account[part] for part in parts)
        return prepared

    return _read


def first(split):
    return [(m.role, m.content) for m in from_json(split.frame["messages"][0])]


def test_bbh(read):
    task = {
        "path": "${SOME_FOLDER}/bbh/*.json", "records": "examples", "limit": 60, "sample_seed": 0,
        "mapping": {"prompt": "input", "completion": "target", "subtask": "_file"},
    }  # fmt: skip
    prepared = read(validation=task)
    (account,) = [a for a in prepared.summary["sources"] if a["split"] == "validation"]
    assert (account["read"], account["kept"], account["rejected"]) == (6511, 60, 0)
    assert prepared.validation.frame["subtask"].nunique() > 15
    assert prepared.validation.row_ids[0].startswith("val0:boolean_expressions.json:")


def test_gsm8k(read):
    prepared = read(test={"path": "${SOME_FOLDER}/gsm8k/test.jsonl"})
    assert len(prepared.test) == 1319
    assert first(prepared.test)[1][1].endswith("#### 18")
    assert prepared.rejects == []


def test_gsm_plus(read):
    mapping = {"prompt": "question", "completion": "solution", "subtask": "perturbation_type"}
    prepared = read(test={"path": "${SOME_FOLDER}/gsm_plus/*.jsonl", "mapping": mapping})
    assert len(prepared.test) + len(prepared.rejects) == 2400
    assert prepared.test.frame["subtask"].nunique() == 8


def test_human_eval(read):
    mapping = {"prompt": "prompt", "completion": "canonical_solution", "id": "task_id"}
    path = "${SOME_FOLDER}/human_eval/HumanEval.jsonl.gz"
    prepared = read(test={"path": path, "mapping": mapping})
    assert len(prepared.test) == 164
    assert prepared.test.row_ids[0] == "HumanEval/0"


def test_mbpp(read):
    mapping = {
        "prompt": "{{ text }} Your code should pass:\n{{ test_list | join('\n') }}",
        "completion": "code", "id": "task_id",
    }  # fmt: skip
    task = {"path": "${SOME_FOLDER}/mbpp/mbpp.jsonl", "mapping": mapping, "start": 600}
    prepared = read(validation=task | {"limit": 374})
    assert prepared.validation.row_ids[0] == "601"
    assert prepared.validation.row_ids[-1] == "974"
    assert "Your code should pass:\nassert " in first(prepared.validation)[0][1]


def test_ifeval_has_prompts_only(read):
    mapping = {"prompt": "prompt", "id": "key"}
    prepared = read(test={"path": "${SOME_FOLDER}/ifeval/*.jsonl", "mapping": mapping})
    assert len(prepared.test) == 541
    assert (prepared.test.frame["n_completion_tokens"] == 0).all()


def test_user_instructions(read):
    mapping = {
        "prompt": "{{ instruction }}\n\n{{ instances[0].input }}",
        "completion": "instances.0.output", "subtask": "motivation_app",
    }  # fmt: skip
    prepared = read(
        validation={"path": "${SOME_FOLDER}/user_instructions", "mapping": mapping, "limit": 50}
    )
    assert prepared.validation.row_ids[0] == "user_oriented_task_0"
    assert first(prepared.validation)[1][1].startswith("If you have any questions")


def test_t0_pool(read):
    """49 files of which two are empty; 200 rows have nothing but the suffix."""
    prepared = read(pool={"path": "${SOME_FOLDER}/t0_pool", "strip_suffix": SUFFIX})
    assert prepared.summary["rejects"]["train"] == {"empty-completion": 200}
    assert len(prepared.train) == 9149 - 200
    assert not prepared.train.frame["messages"].str.contains(SUFFIX, regex=False).any()
