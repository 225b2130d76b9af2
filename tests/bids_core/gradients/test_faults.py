"""Killed writers, damaged chunks and a full disk: seen, and repaired by running again."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bids_core.artifacts import ArtifactStore, collect
from bids_core.gradients import open_store

SCRIPT = Path(__file__).with_name("shard_job.py")
MOMENTS = ("computing", "writing", "publishing")
_spec = importlib.util.spec_from_file_location("shard_job", SCRIPT)
shard_job = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shard_job)


def contents(handle):
    folder = handle.path() / "features.zarr"
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return contents(shard_job.run(str(tmp_path_factory.mktemp("store"))))


def start(*arguments, before=()):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[3])}
    return subprocess.run(
        [*before, sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Stores whose writers were killed, by the moment they were killed at."""
    folder = tmp_path_factory.mktemp("killed")
    done = start(folder, *MOMENTS)
    assert done.stdout.strip() == str([-signal.SIGKILL] * len(MOMENTS)), done.stderr
    return folder


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_writer_leaves_nothing_behind(killed, moment, undisturbed):
    store = ArtifactStore(str(killed / moment))
    assert store.ls() == []
    assert store.find("gradients", "f" * 32) is None
    assert contents(shard_job.run(str(killed / moment))) == undisturbed
    assert len(collect(store).drafts) == 1


@pytest.mark.parametrize("damage", ["truncated", "lost", "changed"])
def test_a_damaged_chunk_is_computed_again(tmp_path, damage, undisturbed, caplog):
    handle = shard_job.run(str(tmp_path))
    chunk = handle.path() / "features.zarr" / "projected_gradients" / "c" / "0" / "0"
    data = bytearray(chunk.read_bytes())
    if damage == "truncated":
        os.truncate(chunk, len(data) // 2)
    elif damage == "lost":
        chunk.unlink()
    else:
        data[100] ^= 1
        chunk.write_bytes(data)
    again = shard_job.run(str(tmp_path))
    assert "projected_gradients/c/0/0" in caplog.text
    assert contents(again) == undisturbed


def test_a_full_disk_is_said_and_mended(tmp_path, undisturbed):
    """A tmpfs too small for the shard, in a mount namespace of its own."""
    unshare = shutil.which("unshare")
    probe = (
        [unshare, "-rm", "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)] if unshare else ["false"]
    )
    if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a tmpfs in a user namespace is not allowed here")
    small = 'mount -t tmpfs -o size=32k tmpfs "$0" && exec "$@"'
    done = start(tmp_path, before=[unshare, "-rm", "sh", "-c", small, tmp_path])
    assert done.returncode == 3, done.stderr
    assert "disk is full" in done.stdout
    assert "run again" in done.stdout
    assert ArtifactStore(str(tmp_path)).ls() == []
    assert contents(shard_job.run(str(tmp_path))) == undisturbed


def test_the_stored_rows_read_back(tmp_path, undisturbed):
    folder = shard_job.run(str(tmp_path)).path() / "features.zarr"
    rows = open_store([folder]).rows(0, shard_job.ROWS)
    stored = np.frombuffer(undisturbed["projected_gradients/c/0/0"][:-4], dtype=np.float32)
    np.testing.assert_array_equal(rows.ravel(), stored)
