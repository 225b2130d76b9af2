"""A server that was down: it finds the runs that are gone, and keeps those that live.

Instead of waiting while the server is down, what it remembers is made an hour older.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

import numpy as np
import pytest
from stack import Server, Worker, wait_for

from flows.cancelling import NO_HEARTBEAT
from flows.deployment.automations import LOST, NEVER_BEGAN

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]
METHOD = """
import time
from pathlib import Path
from bids_core.selection import selection_method

@selection_method(what="waits until it may go", needs="influence")
def waits(request):
    with open("../begun", "a") as begun:
        print("once", file=begun)
    while not Path("../go").exists():
        time.sleep(0.2)
    return list(range(request.budget))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A server with everything deployed, whose pool has two places, and its worker."""
    folder = tmp_path_factory.mktemp("site")
    np.save(folder / "matrix.npy", np.random.default_rng(0).normal(size=(50, 4)))
    with Server(folder) as server:
        said = server.bids("deploy", "--json").stdout
        assert "server setting" not in said
        server.prefect("work-pool", "set-concurrency-limit", "cpu", "2")
        with Worker(server, "cpu", limit=None) as worker:
            (worker.folder / "methods.py").write_text(METHOD)
            yield server, worker


def start(server, name, method="methods.py:waits"):
    """Ask for a selection that waits; returns the run's id."""
    request = {"matrix": "../matrix.npy", "out": f"../{name}.txt", "budget": 5, "method": method}
    return server.run("select-matrix/selection", {"request": request})


def watched(server, run):
    """Return the automations of which the server has written down that they wait for a run."""
    with closing(sqlite3.connect(server.folder / "prefect.db", timeout=30)) as database:
        query = (
            "select automation.name from automation_bucket join automation"
            " on automation.id = automation_bucket.automation_id"
            " where bucketing_key like ? and count = 0"
        )
        return {name for (name,) in database.execute(query, (f"%{run}%",))}


def an_hour_passes(server):
    """Make what a server that is down remembers an hour older."""
    older = ", ".join(
        f"{column} = strftime('%Y-%m-%d %H:%M:%f000', {column}, '-1 hour')"
        for column in ("start", "end")
    )
    with closing(sqlite3.connect(server.folder / "prefect.db")) as database:
        database.execute(f"update automation_bucket set {older}")  # noqa: S608
        database.commit()


def states(server, run):
    """Return names and messages of a run's states, in their order."""
    found = server.get(f"/flow_run_states/?flow_run_id={run}")
    found.sort(key=lambda state: state["timestamp"])
    return [(state["name"], state["message"]) for state in found]


def test_a_run_that_lives_says_so_and_is_not_run_again(site):
    server, _ = site
    run = start(server, "lives")
    wait_for((server.folder / "begun").exists, "it does not begin", 200)
    wait_for(lambda: watched(server, run) == {LOST}, "nobody waits for its heartbeat", 60)
    server.kill()
    an_hour_passes(server)
    server.start()
    crashed = ("Crashed", NO_HEARTBEAT)
    wait_for(lambda: crashed in states(server, run), "it does not count as lost", 60)
    wait_for(lambda: states(server, run)[-1][0] == "Running", "it does not say that it lives", 60)
    (server.folder / "go").touch()
    assert server.wait(run)["state_type"] == "COMPLETED", states(server, run)
    assert "still running" in states(server, run)[-2][1]
    assert (server.folder / "begun").read_text().split() == ["once"]
    for name in ("begun", "go"):
        (server.folder / name).unlink()


def test_runs_that_are_gone_give_their_places_back(site):
    server, worker = site
    running = start(server, "running")
    wait_for((server.folder / "begun").exists, "it does not begin", 200)
    pending = start(server, "pending")
    waiting = start(server, "waiting", method="bids")
    wait_for(
        lambda: (watched(server, running), watched(server, pending)) == ({LOST}, {NEVER_BEGAN}),
        "not written down", 90,
    )  # fmt: skip
    server.kill(children=True)
    worker.kill(children=True)  # server, worker and runs, at one moment
    an_hour_passes(server)
    server.start()
    for run in (running, pending):
        server.wait(run, {"CRASHED"}, timeout=60)
    assert states(server, pending)[-1] == (
        "Crashed", "it did not begin: its worker or machine is gone",
    )  # fmt: skip
    assert states(server, running)[-1] == ("Crashed", NO_HEARTBEAT)
    worker.start()
    assert server.wait(waiting)["state_type"] == "COMPLETED", states(server, waiting)
