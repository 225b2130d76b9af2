"""Two schedules of one deployment that fire at the same moments, faster than a run takes."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pandas as pd
import pytest
from stack import Server, Worker, wait_for

FIRINGS, EVERY = 2, 5  # of each schedule; seconds
FROM_NOW = 45  # the scheduler needs some to look
pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]


@contextmanager
def scheduled(server, config, *, from_now):
    """Yield a function that returns the runs that two schedules made."""
    deployment = server.deployment("select-data/pipeline")["id"]
    first = datetime.now(UTC) + timedelta(seconds=from_now)
    rule = f"DTSTART:{first:%Y%m%dT%H%M%S}\nRRULE:FREQ=SECONDLY;INTERVAL={EVERY};COUNT={FIRINGS}"
    parameters = {"config": config | {"name": "scheduled", "test": []}, "until": "selection"}
    schedules = [
        {"slug": slug, "schedule": {"rrule": rule, "timezone": "UTC"}, "parameters": parameters,
         "active": True}
        for slug in ("one", "other")
    ]  # fmt: skip
    path = f"/deployments/{deployment}/schedules"
    ours = {schedule["id"] for schedule in server.ask("POST", path, schedules)}
    # else it is looked at within the next minute only
    server.ask("PATCH", f"/deployments/{deployment}", {"paused": False})

    def runs():
        asked = {"deployments": {"id": {"any_": [deployment]}}}
        found = server.post("/flow_runs/filter", **asked)
        return [run for run in found if (run["created_by"] or {}).get("id") in ours]

    wait_for(lambda: len(runs()) == 2 * FIRINGS, "not all are scheduled", 120)
    yield runs
    for schedule in ours:
        server.ask("DELETE", f"{path}/{schedule}")


@pytest.mark.usefixtures("first_deploy")
def test_schedules_make_runs(server, project):
    """With SQLAlchemy 2.1 Prefect 3.8 cannot insert them, and says so in the server's log alone."""
    _, config = project
    with scheduled(server, config, from_now=3600) as runs:
        assert {run["state_name"] for run in runs()} == {"Scheduled"}
        assert len({run["expected_start_time"] for run in runs()}) == FIRINGS


@pytest.mark.skipif(
    not os.environ.get("BIDS_TEST_STACK"), reason="takes minutes: `make stack` runs it"
)
def test_each_run_is_done_once_and_one_at_a_time(tmp_path, project):
    folder, config = project
    with Server(tmp_path / "server", database="postgres") as server:
        server.bids("deploy")
        server.prefect("work-pool", "set-concurrency-limit", "cpu", "1")
        with scheduled(server, config, from_now=FROM_NOW) as runs:
            with Worker(server, "cpu", limit=None, folder=folder):
                ended = [server.wait(run["id"], timeout=400) for run in runs()]
            assert len(runs()) == 2 * FIRINGS
        assert Counter(run["state_name"] for run in ended) == {"Completed": 2 * FIRINGS}
        assert {run["run_count"] for run in ended} == {1}
        ended.sort(key=lambda run: run["start_time"])
        for earlier, later in pairwise(ended):
            assert earlier["end_time"] <= later["start_time"]
        said = [line for run in ended for line in server.logs(run["id"])]
        computed = Counter(line.split("'")[1] for line in said if "was computed" in line)
        assert computed
        assert set(computed.values()) == {1}, computed
        waited = [s["name"] for run in ended for s in
                  server.get(f"/flow_run_states/?flow_run_id={run['id']}")]  # fmt: skip
        assert "Late" in waited  # what the UI says of a run that waits
    assert len(pd.read_parquet(folder / "runs" / "scheduled" / "ranking.parquet")) == 6
