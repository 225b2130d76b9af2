"""Ctrl-C in the gradient stage, as a terminal sends it: to the run and its temporary server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from tiny_project import rows, write_rows

_AT_LEAST = 3
"""Finished shards at which the run is interrupted."""
_SECONDS_TO_END = 30
"""Most seconds from Ctrl-C to the end of the process; alone on a machine it is one or two."""


@pytest.fixture
def slow(project):
    """A project whose gradients are cut into 60 shards of the pool."""
    for kind in ("add", "max", "min"):
        write_rows(project / "pool" / f"{kind}.jsonl", rows(kind, 0, 40))
    path = project / "bids.yaml"
    text = path.read_text(encoding="utf-8").replace("rows_per_shard: 12", "rows_per_shard: 4")
    path.write_text(text, encoding="utf-8")
    return project


def finished(project):
    """Return inode and time of change of each finished shard's record."""
    found = {}
    for record in (project / ".bids" / "gradients").glob("*/record.json"):
        stat = record.stat()
        found[record.parent.name] = (stat.st_ino, stat.st_mtime_ns)
    return found


@pytest.mark.server
@pytest.mark.timeout(900)
def test_a_run_interrupted_in_its_gradients_ends_at_once_and_goes_on_from_there(slow):
    command = [sys.executable, "-m", "bids_select", "run", "bids.yaml", "--until", "gradients"]
    environment = os.environ | {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "600"}
    environment.pop("PREFECT_API_URL", None)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    run = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)
    try:
        while len(finished(slow)) < _AT_LEAST:
            assert run.poll() is None, run.communicate()
            time.sleep(0.05)
        pressed = time.monotonic()
        os.killpg(run.pid, signal.SIGINT)
        out, err = run.communicate(timeout=_SECONDS_TO_END)
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    assert run.returncode == 130, err
    assert time.monotonic() - pressed < _SECONDS_TO_END
    assert out == ""
    last = err.strip().splitlines()[-1]
    assert last == "interrupted; run the same command again to continue where it stopped"
    assert err.count("interrupted;") == 1
    assert "Traceback" not in err
    kept = finished(slow)
    assert _AT_LEAST <= len(kept) < 60

    again = subprocess.run(command, env=environment, check=False, **pipes)
    assert again.returncode == 0, again.stderr
    everything = finished(slow)
    assert len(everything) > 60
    assert kept.items() <= everything.items()  # the same files: nothing was computed again
