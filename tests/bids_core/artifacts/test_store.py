from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from bids_core.artifacts import RECORD, ArtifactStore, Handle, collect, file_digest, fingerprint
from bids_core.errors import ArtifactError

SPEC = {"version": 1, "config": {"a": 1}, "inputs": {"rows": "x"}}


def publish(store: ArtifactStore, text: str = "content", name: str = "f" * 32) -> Handle:
    with store.create("stage", name, **SPEC) as draft:
        (draft.path / "deep").mkdir()
        (draft.path / "deep" / "file.txt").write_text(text)
        draft.summary["rows"] = 3
    return store.handle("stage", name)


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(str(tmp_path / "store"))


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A store on fsspec's in-memory file system, read through a local cache."""
    monkeypatch.setenv("BIDS_CACHE", str(tmp_path / "cache"))
    return ArtifactStore(f"memory://{tmp_path.name}")


def test_fingerprint_depends_on_every_part_and_not_on_key_order():
    base = fingerprint("s", version=1, config={"a": 1, "b": 2}, inputs={"x": "y"})
    assert base == fingerprint("s", version=1, config={"b": 2, "a": 1}, inputs={"x": "y"})
    others = {
        fingerprint("t", version=1, config={"a": 1, "b": 2}, inputs={"x": "y"}),
        fingerprint("s", version=2, config={"a": 1, "b": 2}, inputs={"x": "y"}),
        fingerprint("s", version=1, config={"a": 1, "b": 3}, inputs={"x": "y"}),
        fingerprint("s", version=1, config={"a": 1, "b": 2}, inputs={"x": "z"}),
    }
    assert len(others) == 4
    assert base not in others


def test_an_artifact_appears_whole_with_its_record(store):
    handle = publish(store)
    assert store.find("stage", "f" * 32) == handle
    record = handle.record()
    assert record["config"] == {"a": 1}
    assert record["summary"] == {"rows": 3}
    assert record["files"]["deep/file.txt"]["bytes"] == len("content")
    assert record["versions"]["python"]
    assert store.verify(handle) == []


def test_a_handle_survives_json(store):
    handle = publish(store)
    assert Handle.model_validate_json(handle.model_dump_json()) == handle


def test_nothing_appears_when_the_work_fails(store, tmp_path):
    with (
        pytest.raises(RuntimeError, match="half"),
        store.create("stage", "a" * 32, **SPEC) as draft,
    ):
        (draft.path / "file").write_text("half")
        raise RuntimeError("half done")
    assert store.find("stage", "a" * 32) is None
    assert store.ls() == []
    assert list((tmp_path / "store" / ".tmp").iterdir()) == []


@pytest.mark.parametrize("damage", ["truncate", "flip", "delete", "record", "no-record"])
def test_a_damaged_artifact_is_a_miss_is_named_and_is_replaced(store, damage, caplog):
    handle = publish(store)
    file = handle.path() / "deep" / "file.txt"
    if damage == "truncate":
        file.write_text("con")
    elif damage == "flip":
        file.write_text("Content")
    elif damage == "delete":
        file.unlink()
    elif damage == "record":
        (handle.path() / RECORD).write_text("{")
    else:
        (handle.path() / RECORD).unlink()
    assert store.find("stage", handle.fingerprint) is None
    assert "damaged" in caplog.text
    again = publish(store)
    assert store.verify(again) == []
    assert (again.path() / "deep" / "file.txt").read_text() == "content"


def test_the_artifact_that_was_first_is_kept(store):
    first = publish(store, text="first")
    publish(store, text="other")
    assert (first.path() / "deep" / "file.txt").read_text() == "first"
    assert store.verify(first) == []


def test_two_writers_at_once_leave_one_whole_artifact(store):
    barrier = threading.Barrier(2)

    def write():
        with store.create("stage", "b" * 32, **SPEC) as draft:
            (draft.path / "file").write_text("same")
            barrier.wait(timeout=20)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [handle.fingerprint for handle in store.ls()] == ["b" * 32]
    assert store.verify(store.ls()[0]) == []


def test_a_missing_artifact_is_an_error_that_says_what_to_do(store):
    with pytest.raises(ArtifactError, match="run again"):
        store.handle("stage", "0" * 32).path()


def test_remote_store_round_trip_survives_an_empty_cache(remote, tmp_path):
    handle = publish(remote)
    assert (handle.path() / "deep" / "file.txt").read_text() == "content"
    for place in (tmp_path / "cache").rglob("file.txt"):
        place.unlink()
    for place in (tmp_path / "cache").rglob(RECORD):
        place.unlink()
    fresh = ArtifactStore(remote.url)
    assert fresh.find("stage", handle.fingerprint) == handle
    assert (handle.path() / "deep" / "file.txt").read_text() == "content"
    assert fresh.ls() == [handle]
    fresh.remove(handle)
    assert fresh.find("stage", handle.fingerprint) is None


def test_a_remote_upload_without_its_record_does_not_count(remote):
    handle = publish(remote)
    remote._fs.rm(f"{remote.root}/{handle.key}/{RECORD}")
    fresh = ArtifactStore(remote.url)
    (fresh._local_place(handle) / RECORD).unlink()
    assert fresh.find("stage", handle.fingerprint) is None


def test_leftovers_of_killed_runs_can_be_removed(store, tmp_path):
    name = f"stage-{'0123456789abcdef' * 2}-{'f' * 32}"
    left = tmp_path / "store" / ".tmp" / name
    left.mkdir(parents=True)
    (left / "file").write_text("half")
    assert store.ls() == []
    assert [path.name for path in collect(store).drafts] == [name]
    assert not left.exists()


def test_a_relative_store_is_pinned_to_where_it_was_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    handle = publish(ArtifactStore("here"))
    monkeypatch.chdir("/")
    assert Path(handle.store) == tmp_path / "here"
    assert json.loads((handle.path() / RECORD).read_text())["stage"] == "stage"


def test_file_digest_is_that_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 10)
    (tmp_path / "b").write_bytes(b"x" * 10)
    (tmp_path / "c").write_bytes(b"x" * 9 + b"y")
    assert file_digest(tmp_path / "a") == file_digest(tmp_path / "b")
    assert file_digest(tmp_path / "a") != file_digest(tmp_path / "c")
