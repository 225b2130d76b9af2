"""The leakage guard end to end: exact and n-gram, validation and test, warned of and dropped."""

from __future__ import annotations

import json

import pytest
from tiny_project import write_rows

from flows.commands.check import check

LONG = "the quick brown fox jumps over the lazy dog while seven small birds watch from one old tree"


@pytest.fixture
def leaking(project):
    """Four pool rows that leak: {exact, n-gram} x {validation, test}."""

    def ask(kind):
        lines = (project / kind / "add.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    validation, test, pool = ask("validation"), ask("test"), ask("pool")
    validation.append({"prompt": f"Say {LONG} now", "completion": "1"})
    test.append({"prompt": f"Tell {LONG.replace('birds', 'cats')} soon", "completion": "2"})
    pool += [
        {"prompt": validation[0]["prompt"].upper(), "completion": "other"},
        {"prompt": test[0]["prompt"], "completion": "other"},
        {"prompt": f"Well: {LONG}.", "completion": "1"},
        {"prompt": f"Well: {LONG.replace('birds', 'cats')}.", "completion": "2"},
    ]
    for kind, rows in (("validation", validation), ("test", test), ("pool", pool)):
        write_rows(project / kind / "add.jsonl", rows)
    return project


@pytest.mark.parametrize("how", ["warn", "drop"])
def test_every_kind_of_leak_is_found(leaking, capsys, how):
    changes = [f"data.overlap={how}", "data.max_length=200"]
    check(leaking / "bids.yaml", changes, cost=False, as_json=True)
    summary = json.loads(capsys.readouterr().out)
    assert summary["overlap"] >= 4
    kept = 36 if how == "warn" else 32
    check(leaking / "bids.yaml", changes, cost=False)
    out = capsys.readouterr().out
    assert "The first ones:" in out
    assert "exact, 100%" in out
    from bids_core.config.load import load_config
    from bids_core.data import prepare
    from bids_core.models.load import load_tokenizer

    config = load_config(leaking / "bids.yaml", changes)
    data = prepare(config, load_tokenizer(config.model), base_dir=leaking)
    found = data.overlap[data.overlap["split"] == "train"]
    assert set(map(tuple, found[["other_split", "kind"]].to_numpy())) == {
        (split, kind) for split in ("validation", "test") for kind in ("exact", "ngram")
    }
    assert len(data.train) == kept
