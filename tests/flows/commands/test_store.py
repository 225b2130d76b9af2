"""`bids store`: what it lists, and that it refuses what is no store."""

from __future__ import annotations

import json

import pytest

from bids_core.artifacts import ArtifactStore


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = ArtifactStore(str(tmp_path / ".bids"))
    parts = {"inputs": {}, "version": 1}
    with made.recording("demo", kind="run", folder=tmp_path / "runs" / "demo") as recorder:
        for stage, letter, config, uses in (
            ("prepare", "a", {}, ()),
            ("selection", "b", {"selection": {"method": "less"}}, (f"prepare/{'a' * 32}",)),
            ("finetune", "c", {}, (f"selection/{'b' * 32}",)),
        ):
            recorder.refer(made.url, [f"{stage}/{letter * 32}"])
            with made.create(stage, letter * 32, config=config, uses=uses, **parts) as draft:
                (draft.path / "file").write_text("x" * 3000)
    return made


def test_ls_says_method_run_and_age_within_the_width(bids, store, monkeypatch):
    status, out, _ = bids("store", "ls")
    assert status == 0
    lines = {line.split("│")[0].strip(): line for line in out.splitlines() if "/" in line}
    line = lines["finetune/ccccccc"]
    assert [part.strip() for part in line.split("│")][1:] == ["less", "demo", "4 KiB", "< 1 min"]
    assert max(map(len, out.splitlines()[1:])) <= 70
    rows = json.loads(bids("store", "ls", "--json")[1])
    assert {row["artifact"]: row["method"] for row in rows} == {
        f"prepare/{'a' * 32}": None, f"selection/{'b' * 32}": "less", f"finetune/{'c' * 32}": "less"
    }  # fmt: skip
    assert all(row["runs"] == ["demo"] and row["state"] == "whole" for row in rows)


def test_ls_sees_that_a_file_is_gone(bids, store, tmp_path):
    next((tmp_path / ".bids" / "prepare").rglob("file")).unlink()
    rows = json.loads(bids("store", "ls", "--json")[1])
    assert [row["state"] for row in rows if row["stage"] == "prepare"] == ["files are missing"]
    assert "files are missing" in bids("store", "ls")[1]


@pytest.mark.parametrize("command", ["ls", "verify", "gc"])
@pytest.mark.parametrize("place", ["nowhere", "empty", "."])
def test_what_is_no_store_is_an_error(bids, tmp_path, monkeypatch, command, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "data" / "pool").mkdir(parents=True)
    status, out, err = bids("store", command, "--store", place)
    assert status == 2
    assert f"--store {place}: no store there" in err
    assert out == ""
