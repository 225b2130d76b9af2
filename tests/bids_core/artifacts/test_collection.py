"""Cleaning a store: what runs refer to stays, what processes make stays, the rest goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bids_core.artifacts import ArtifactStore, Identity, collect, refer, survey
from bids_core.errors import ArtifactError

REPO = Path(__file__).parents[3]


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path, monkeypatch):
    monkeypatch.setenv("BIDS_CACHE", str(tmp_path / "cache"))
    if request.param == "memory":
        return ArtifactStore(f"memory://{tmp_path.name}")
    return ArtifactStore(str(tmp_path / "store"))


def made(store: ArtifactStore, name: str, uses: tuple[str, ...] = ()) -> str:
    """Have an artifact computed, or found; returns its key."""
    identity = Identity("stage", 1, config={"name": name}, inputs={}, uses=uses)
    store.get_or_compute(identity, lambda draft: (draft.path / "file").write_text(name))
    return identity.key


def keys(store: ArtifactStore) -> set[str]:
    return {handle.key for handle in store.ls()}


def test_what_a_run_refers_to_and_what_that_was_made_from_is_kept(store, tmp_path):
    old, unused = made(store, "old"), made(store, "unused")
    with store.recording("one", kind="run", folder=tmp_path / "runs" / "one"):
        mine = made(store, "mine", uses=(old,))
    found = survey(store)
    assert {handle.key for handle in found.unused} == {unused}
    assert found.kept == {mine: "run one (done)", old: "run one (done)"}
    assert keys(store) == {old, unused, mine}  # looking deletes nothing
    assert [handle.key for handle in collect(store).unused] == [unused]
    assert keys(store) == {old, mine}


def test_what_was_used_by_what_was_used_is_kept(store, tmp_path):
    first = made(store, "first")
    second = made(store, "second", uses=(first,))
    third = made(store, "third", uses=(second,))
    with store.recording("one", kind="run", folder=tmp_path / "one"):
        refer(store.url, [third])
    assert collect(store).unused == ()
    assert survey(store).kept[first] == f"{second} was made from it"


def test_a_run_and_a_comparison_of_one_name_keep_their_own(store, tmp_path):
    for kind in ("run", "comparison"):
        with store.recording("one", kind=kind, folder=tmp_path / "one"):
            made(store, kind)
    assert collect(store).unused == ()
    assert {entry.label for entry in survey(store).runs} == {"run one", "comparison one"}


def test_run_again_with_another_configuration_it_keeps_what_it_uses_now(store, tmp_path):
    with store.recording("one", kind="run", folder=tmp_path / "one"):
        before = made(store, "before")
    with store.recording("one", kind="run", folder=tmp_path / "one"):
        made(store, "after")
    assert [handle.key for handle in collect(store).unused] == [before]


def test_a_run_that_failed_keeps_what_it_has_and_what_its_folder_shows(store, tmp_path):
    with store.recording("one", kind="run", folder=tmp_path / "one"):
        before = made(store, "before")
    with (
        pytest.raises(RuntimeError, match="no luck"),
        store.recording("one", kind="run", folder=tmp_path / "one"),
    ):
        after = made(store, "after")
        raise RuntimeError("no luck")
    found = survey(store)
    assert set(found.kept) == {before, after}
    assert found.kept[after] == "run one (failed)"


def test_a_run_whose_folder_was_deleted_keeps_nothing(store, tmp_path):
    with store.recording("one", kind="run", folder=tmp_path / "one"):
        key = made(store, "mine")
    (tmp_path / "one").rmdir()
    found = collect(store)
    assert [entry.label for entry in found.gone] == ["run one"]
    assert [handle.key for handle in found.unused] == [key]
    assert store.ledger().entries() == []


def test_a_run_can_be_forgotten_by_name_but_not_while_it_runs(store, tmp_path):
    with store.recording("one", kind="run", folder=tmp_path / "one"):
        key = made(store, "mine")
        assert survey(store, forget=["one"]).unused == ()
    assert [handle.key for handle in survey(store, forget=["one"]).unused] == [key]
    assert survey(store, forget=["other"]).unused == ()


def test_a_manifest_in_a_given_folder_counts_too(store, tmp_path):
    new, old, cell = made(store, "new"), made(store, "old"), made(store, "cell")

    def part(key):
        stage, fingerprint = key.split("/")
        return {"store": store.url, "stage": stage, "fingerprint": fingerprint}

    contents = {
        "new/manifest.json": {"artifacts": [new], "stages": {}},
        "old/manifest.json": {"stages": {"warmup": part(old)}},
        "compared/comparison.json": {"cells": [{"tuned": part(cell), "scores": None}]},
    }
    for name, content in contents.items():
        path = tmp_path / "moved" / name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content))
    assert {handle.key for handle in survey(store).unused} == {new, old, cell}
    assert survey(store, folders=[tmp_path / "moved"]).unused == ()
    (tmp_path / "moved" / "old" / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"old/manifest\.json.*repair it"):
        survey(store, folders=[tmp_path / "moved"])
    with pytest.raises(ArtifactError, match="no such folder"):
        survey(store, folders=[tmp_path / "nowhere"])


def test_an_entry_that_cannot_be_read_stops_the_cleaning(tmp_path):
    store = ArtifactStore(str(tmp_path / "store"))
    with store.recording("one", kind="run", folder=tmp_path / "one"):
        made(store, "mine")
    (entry,) = Path(store.ledger().folder).glob("*.json")
    entry.write_text("{")
    with pytest.raises(ArtifactError, match="cannot be read"):
        collect(store)
    assert len(store.ls()) == 1


def test_what_is_being_computed_is_kept_with_its_draft(store):
    begun, go_on = threading.Event(), threading.Event()

    def slow(draft):
        (draft.path / "file").write_text("half")
        (draft.scratch() / "checkpoint").write_text("half")
        begun.set()
        assert go_on.wait(30)

    identity = Identity("slow", 1, config={}, inputs={})
    work = threading.Thread(target=store.get_or_compute, args=(identity, slow))
    work.start()
    assert begun.wait(30)
    found = collect(store)
    go_on.set()
    work.join()
    assert (found.unused, found.drafts) == ((), ())
    assert found.kept == {identity.key: "is being computed"}
    assert keys(store) == {identity.key}
    assert collect(store).drafts == ()  # what it could have gone on from went with the end


def test_what_a_killed_process_left_goes_but_not_what_a_run_will_go_on_from(tmp_path):
    url = str(tmp_path / "store")
    job = f"""
import os, pathlib
from bids_core.artifacts import ArtifactStore, Identity
store = ArtifactStore({url!r})
def die(draft):
    (draft.path / "file").write_text("half")
    (draft.scratch() / "checkpoint").write_text("half")
    os._exit(9)
with store.recording("killed", kind="run", folder=pathlib.Path({str(tmp_path / "killed")!r})):
    store.get_or_compute(Identity("slow", 1, config={{}}, inputs={{}}), die)
"""
    done = subprocess.run(
        [sys.executable, "-c", job],
        check=False,
        env=os.environ | {"PYTHONPATH": str(REPO)},
    )
    assert done.returncode == 9
    store = ArtifactStore(url)
    found = survey(store)
    assert [entry.state for entry in found.runs] == ["interrupted"]
    assert len(found.drafts) == 1
    assert len(collect(store).drafts) == 1
    left = [path.name for path in (tmp_path / "store" / ".tmp").iterdir()]
    assert [name.endswith("-resume") for name in left] == [True]
    found = collect(store, forget=["killed"])
    assert [path.name for path in found.drafts] == left
    assert list((tmp_path / "store" / ".tmp").iterdir()) == []


def test_a_run_that_begins_while_the_store_is_cleaned_loses_nothing(tmp_path):
    """Many runs look for an artifact that collectors are after; none sees it vanish."""
    store = ArtifactStore(str(tmp_path / "store"))
    job = f"""
import pathlib, time
from bids_core.artifacts import ArtifactStore, Identity
import bids_core.artifacts.intent as intent
intent._POLL_SECONDS = 0.001
store = ArtifactStore({store.url!r})
identity = Identity("stage", 1, config={{}}, inputs={{}})
while not pathlib.Path({str(tmp_path)!r}, "enough").exists():
    folder = pathlib.Path({str(tmp_path)!r}, "run")
    with store.recording("run", kind="run", folder=folder):
        found = store.get_or_compute(identity, lambda draft: (draft.path / "f").write_text("x"))
        time.sleep(0.001)
        assert (found.handle.path() / "f").read_text() == "x"
    folder.rmdir()
    time.sleep(0.002)
"""
    runner = subprocess.Popen(
        [sys.executable, "-c", job], env=os.environ | {"PYTHONPATH": str(REPO)}
    )
    deleted, until = 0, time.monotonic() + 60
    while runner.poll() is None and deleted < 5 and time.monotonic() < until:
        deleted += len(collect(store).unused)
    (tmp_path / "enough").touch()
    assert runner.wait() == 0
    assert deleted >= 5


def test_two_collectors_do_not_get_into_each_others_way(tmp_path):
    store = ArtifactStore(str(tmp_path / "store"))
    made(store, "unused")
    intent = Path(store.ledger().folder) / "deleting"
    intent.parent.mkdir()
    from bids_core.artifacts.holders import holder_content

    intent.write_bytes(holder_content())
    with pytest.raises(ArtifactError, match="another process is cleaning"):
        collect(store)
    intent.write_bytes(holder_content().replace(b'"pid": ', b'"pid": 99'))
    assert len(collect(store).unused) == 1  # that one was killed
    assert not intent.exists()


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_is_not_ours_stays_and_is_named(tmp_path):
    store = ArtifactStore(str(tmp_path / "home"))  # a folder that holds other things too
    unused = made(store, "unused")
    home, hexadecimal = Path(store.url), "0123456789abcdef" * 2
    theirs = ["photos/cat.jpg", "pool/x/rows.jsonl", f"stage/{hexadecimal}/notes.txt",
              f"other/{hexadecimal}/record.json", ".tmp/thesis/chapter.tex", ".tmp/notes",
              "stage/.hidden/record.json"]  # fmt: skip
    for name in theirs:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text('{"files": {}, "stage": "stage"}')
    found = collect(store)
    assert [handle.key for handle in found.unused] == [unused]
    assert set(found.foreign) == {
        "photos/cat.jpg", "pool/x", f"stage/{hexadecimal}", f"other/{hexadecimal}", "stage/.hidden",
    }  # fmt: skip
    assert found.drafts == ()
    assert files_below(home) == sorted(theirs)


def test_links_are_not_followed(tmp_path):
    store, other = ArtifactStore(str(tmp_path / "store")), ArtifactStore(str(tmp_path / "other"))
    key, elsewhere = made(store, "mine"), made(other, "theirs")
    home, away = Path(store.url), Path(other.url)
    (away / "kept.txt").write_text("x")
    (home / "linked").symlink_to(away / "stage")
    (home / "stage" / elsewhere.split("/")[1]).symlink_to(away / elsewhere)
    (home / key / "inside").symlink_to(away)
    (away / "draft").mkdir()
    (home / ".tmp").rmdir()
    (home / ".tmp").symlink_to(away)
    before = files_below(away)
    found = collect(store)
    assert [handle.key for handle in found.unused] == [key]
    assert set(found.foreign) == {elsewhere, f"linked/{elsewhere.split('/')[1]}"}
    assert not (home / key).exists()
    assert files_below(away) == before
    assert (away / "draft").is_dir()


def test_an_entry_of_the_ledger_names_no_other_file(tmp_path):
    store = ArtifactStore(str(tmp_path / "store"))
    with store.recording("one", kind="run", folder=tmp_path / "one"):
        made(store, "mine")
    (tmp_path / "one").rmdir()
    (file,) = Path(store.url, ".runs").glob("*.json")
    (tmp_path / "x.json").write_text("{}")
    entry = json.loads(file.read_text()) | {"serial": "/../../../x"}
    file.write_text(json.dumps(entry))
    with pytest.raises(ArtifactError, match="cannot be read") as caught:
        collect(store)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "x.json").exists()


def test_a_run_folder_that_may_not_be_looked_at_keeps_its_artifacts(tmp_path, monkeypatch):
    store = ArtifactStore(str(tmp_path / "store"))
    with store.recording("one", kind="run", folder=tmp_path / "one"):
        key = made(store, "mine")
    real = Path.lstat

    def refuse(path):
        if path.name == "one":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "lstat", refuse)
    assert collect(store).unused == ()
    assert key in keys(store)


def test_what_another_user_owns_is_one_line(tmp_path, monkeypatch):
    store = ArtifactStore(str(tmp_path / "store"))
    key = made(store, "mine")

    def refuse(*_):
        raise PermissionError(13, "Permission denied", "mine")

    monkeypatch.setattr(ArtifactStore, "remove", refuse)
    with pytest.raises(ArtifactError, match="another user's") as caught:
        collect(store)
    assert key in str(caught.value)
    assert "\n" not in str(caught.value)
