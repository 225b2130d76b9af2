"""One process computes, the others wait; a holder that is lost loses its turn. Real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import fsspec
import pytest

from bids_core.artifacts import ArtifactStore
from bids_core.artifacts.locks import ArtifactLock, LocalFiles, RemoteFiles, lock_files
from bids_core.errors import ConfigError

HOLDER = """
import sys, time
from bids_core.artifacts.locks import ArtifactLock, LocalFiles
with ArtifactLock(LocalFiles(), sys.argv[1], beat_seconds=0.2, expiry_seconds=1.5).held():
    print("held", flush=True)
    time.sleep(60)
"""
COMPUTER = """
import os, sys, time
from bids_core.artifacts import ArtifactStore
store = ArtifactStore(sys.argv[1])
handle = store.handle("stage", "f" * 32)
with store.exclusive(handle) as waited:
    if not waited or store.find("stage", "f" * 32) is None:
        with store.create("stage", "f" * 32, version=1, config={}, inputs={}) as draft:
            time.sleep(1)
            (draft.path / "who").write_text(str(os.getpid()))
        print("computed")
"""


def process(script, *arguments):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


@pytest.fixture(params=["local", "remote"])
def lock(request, tmp_path):
    local = request.param == "local"
    files = LocalFiles() if local else RemoteFiles(fsspec.filesystem("memory"))
    folder = str(tmp_path / "lock") if local else f"/{tmp_path.name}/lock"
    return lambda: ArtifactLock(files, folder, beat_seconds=0.05, expiry_seconds=0.5)


def test_a_lock_is_free_before_and_after(lock):
    assert lock().sign_of_life() is None
    with lock().held() as waited:
        assert not waited
        assert lock().sign_of_life() is not None
    assert lock().sign_of_life() is None


def test_a_waiter_waits_as_long_as_the_holder_lives(lock):
    order = []

    def second():
        with lock().held() as waited:
            order.append(("second", waited))

    with lock().held():
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(1.2)  # more than twice the expiry: the beats keep it
        order.append("first")
    thread.join(timeout=20)
    assert order == ["first", ("second", True)]


def test_a_silent_holder_loses_its_turn_and_does_no_harm_when_it_comes_back(lock):
    held = lock()
    name, _ = held._acquire()  # a holder that never beats: hung, or on a machine that is gone
    started = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bids_core.artifacts.locks.lives_here", lambda content: None)
        with lock().held() as waited:
            assert waited
            assert time.monotonic() - started >= 0.5
            held._files.remove(f"{held._folder}/{name}")  # it wakes up and lets go of its own
            assert lock().sign_of_life() is not None
    assert lock().sign_of_life() is None


@pytest.mark.parametrize(("number", "least", "most"), [(signal.SIGKILL, 0, 1.4),
                                                       (signal.SIGSTOP, 1.0, 6)])  # fmt: skip
def test_a_killed_holder_is_seen_at_once_and_a_hung_one_soon(tmp_path, number, least, most):
    folder = tmp_path / "lock"
    holder = process(HOLDER, folder)
    try:
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(number)
        if number == signal.SIGKILL:
            holder.wait()
        started = time.monotonic()
        with ArtifactLock(LocalFiles(), str(folder), beat_seconds=0.2, expiry_seconds=1.5).held():
            assert least <= time.monotonic() - started <= most
    finally:
        holder.kill()
        holder.wait()
    assert not folder.exists()


def test_of_four_processes_one_computes(tmp_path):
    racers = [process(COMPUTER, tmp_path) for _ in range(4)]
    told = [racer.communicate(timeout=60)[0] for racer in racers]
    assert sorted(told) == ["", "", "", "computed\n"]
    store = ArtifactStore(str(tmp_path))
    assert not store.verify(store.handle("stage", "f" * 32))
    assert store.sign_of_life(store.handle("stage", "f" * 32)) is None


def test_a_file_system_without_exclusive_create_goes_unlocked():
    fs = type("WebDav", (), {"protocol": ("webdav", "http")})()
    assert lock_files(fs, local=False) is None


def test_a_store_that_can_not_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"store: .*file.* is not writable"):
        ArtifactStore(str(tmp_path / "file")).require_access()
