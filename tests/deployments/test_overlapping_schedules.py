"""Two schedules of one deployment that fire at the same moments, faster than a run takes."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pandas as pd
import pytest
from stack import Worker, wait_for

FIRINGS, EVERY, FROM_NOW = 2, 5, 45  # of each schedule; seconds; the scheduler needs some to look
pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]


@pytest.fixture
def fired(server, first_deploy, project):
    """The runs of two schedules, on a pool with one place; ended."""
    _, config = project
    server.prefect("work-pool", "set-concurrency-limit", "cpu", "1")
    deployment = server.deployment("select-data/pipeline")["id"]
    first = datetime.now(UTC) + timedelta(seconds=FROM_NOW)
    rule = f"DTSTART:{first:%Y%m%dT%H%M%S}\nRRULE:FREQ=SECONDLY;INTERVAL={EVERY};COUNT={FIRINGS}"
    parameters = {"config": config | {"name": "scheduled", "test": []}, "until": "selection"}
    schedules = [
        {"slug": slug, "schedule": {"rrule": rule, "timezone": "UTC"}, "parameters": parameters,
         "active": True}
        for slug in ("one", "other")
    ]  # fmt: skip
    path = f"/deployments/{deployment}/schedules"
    made = server.http.post(path, json=schedules).raise_for_status().json()
    ours = {schedule["id"] for schedule in made}
    touched = server.http.patch(f"/deployments/{deployment}", json={"paused": False})
    touched.raise_for_status()  # else it is looked at within the next minute only

    def runs():
        asked = {"deployments": {"id": {"any_": [deployment]}}}
        found = server.post("/flow_runs/filter", **asked)
        return [run for run in found if (run["created_by"] or {}).get("id") in ours]

    wait_for(lambda: len(runs()) == 2 * FIRINGS, "not all are scheduled", FROM_NOW + 60)
    yield runs
    for schedule in ours:
        server.http.delete(f"{path}/{schedule}").raise_for_status()
    server.prefect("work-pool", "clear-concurrency-limit", "cpu")


def test_each_run_is_done_once_and_one_at_a_time(server, fired, project):
    folder, _ = project
    with Worker(server, "cpu", limit=None, folder=folder):
        ended = [server.wait(run["id"], timeout=400) for run in fired()]
    assert len(fired()) == 2 * FIRINGS
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
    assert waited.count("Late") >= FIRINGS, waited  # what the UI says of a run that waits
    assert len(pd.read_parquet(folder / "runs" / "scheduled" / "ranking.parquet")) == 6
