"""Records, ledgers and lists of rows that others wrote: nothing outside is written or read."""

from __future__ import annotations

import json
import uuid

import fsspec
import pytest
from pydantic import ValidationError

from bids_core.artifacts import RECORD, ArtifactStore, Handle
from bids_core.errors import ArtifactError
from tasks.known_rows import KEYS, _keys_of

KEY = "f" * 32
SPEC = {"version": 1, "config": {}, "inputs": {}}
SAID = {"bytes": 4, "xxh3": "0" * 32}
OUTSIDE = ["../../../escaped.txt", "/escaped.txt", "a/../../escaped.txt", "", "x\0y"]


@pytest.fixture
def store(tmp_path):
    store = ArtifactStore(str(tmp_path / "store"))
    with store.create("stage", KEY, **SPEC) as draft:
        (draft.path / "file.txt").write_text("fine")
    assert store.find("stage", KEY) is not None
    return store


def change(folder, **changes):
    path = folder / RECORD
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_remote_record_writes_nothing_outside(tmp_path, monkeypatch, name):
    monkeypatch.setenv("BIDS_CACHE", str(tmp_path / "a" / "b" / "cache"))
    root = f"/{uuid.uuid4().hex}"
    memory = fsspec.filesystem("memory")
    memory.pipe_file(f"{root}/stage/{KEY}/{RECORD}", json.dumps({"files": {name: SAID}}).encode())
    memory.pipe_file(f"{root}/escaped.txt", b"evil")
    memory.pipe_file(f"{root}/stage/{KEY}/escaped.txt", b"evil")
    store = ArtifactStore(f"memory://{root}")
    assert store.find("stage", KEY) is None
    assert list(tmp_path.rglob("escaped.txt")) == []


@pytest.mark.parametrize("files", [
    *({name: SAID} for name in OUTSIDE),
    [], None, {"file.txt": {}}, {"file.txt": 3}, {"file.txt": None},
])  # fmt: skip
def test_a_record_that_is_none_is_damage(store, files, tmp_path):
    (tmp_path / "escaped.txt").write_text("evil")
    change(store.handle("stage", KEY).path(), files=files)
    assert store.find("stage", KEY) is None or files == []


def test_a_link_out_of_an_artifact_is_damage(store, tmp_path):
    file = store.handle("stage", KEY).path() / "file.txt"
    (tmp_path / "secret.txt").write_text("fine")  # of the same bytes
    file.unlink()
    file.symlink_to(tmp_path / "secret.txt")
    assert "a link that leads out" in store.verify(store.handle("stage", KEY))[0]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a\\b", "a\0b"])
def test_a_handle_names_a_folder(name):
    for names in ({"stage": name, "fingerprint": KEY}, {"stage": "s", "fingerprint": name}):
        with pytest.raises(ValidationError, match="is not the name of a folder"):
            Handle(store="s", **names)


@pytest.mark.parametrize("holder", ["", "{", "[]", "{}", '{"node": 3}', "null"])
def test_a_ledger_entry_without_a_machine_is_one_line(store, tmp_path, holder):
    with store.recording("run", kind="run", folder=tmp_path / "runs" / "run"):
        pass
    (entry,) = (tmp_path / "store" / ".runs").glob("*.json")
    entry.write_text(json.dumps(json.loads(entry.read_text()) | {"holder": holder}))
    with pytest.raises(ArtifactError, match="so it is unknown which artifacts its run needs"):
        store.ledger().entries()


@pytest.mark.parametrize("content", ["", "{", "{}", "3", "[1]", '["a", ["b"]]', "\ufffd"])
def test_row_keys_that_cannot_be_read_are_not_reused(store, content):
    handle = store.handle("stage", KEY)
    (handle.path() / KEYS).write_text(content)
    assert _keys_of(store, handle) == ()
