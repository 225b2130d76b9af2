"""`bids deploy` on a real server, and runs on a worker of each pool."""

from __future__ import annotations

import http.server
import json
import re
import subprocess
import sys
import threading
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import stack
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings

from bids_core.config import RunConfig
from bids_core.errors import UserError
from bids_core.selection import select
from flows.deployment.automations import RETRY
from flows.deployment.connection import check_server, resources
from flows.deployment.deployments import flow_name, read_entries

pytestmark = pytest.mark.timeout(600)  # for a busy machine; a quiet one takes a fifth
DEPLOYMENTS = {"select-data/pipeline", "select-matrix/selection", "compare-methods/comparison",
               "gradient-shards/gpu", "gpu-stage/gpu"}  # fmt: skip


def snapshot(server):
    """Return everything that `bids deploy` makes, without ids and times."""
    volatile = {"id", "created", "updated", "last_polled", "version_id", "version_info", "status",
                "default_queue_id", "work_pool_id", "flow_id", "branch", "root"}  # fmt: skip

    def without(value):
        if isinstance(value, dict):
            return {k: without(v) for k, v in value.items() if k not in volatile}
        return [without(item) for item in value] if isinstance(value, list) else value

    pools = server.post("/work_pools/filter")
    names = [pool["name"] for pool in pools]
    found = {
        "pools": pools,
        "queues": {n: server.post(f"/work_pools/{n}/queues/filter") for n in names},
        "deployments": server.post("/deployments/filter"),
        "automations": server.post("/automations/filter"),
    }
    return json.loads(json.dumps(without(found), sort_keys=True))


@pytest.fixture(scope="module")
def webhook():
    """A webhook on this machine; returns its URL and the messages it got."""
    got: list[dict] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{receiver.server_port}/a-secret-path", got
    receiver.shutdown()


@pytest.mark.server
def test_one_step_makes_everything(server, first_deploy):
    outcomes = Counter((change["kind"], change["outcome"]) for change in first_deploy["changes"])
    assert outcomes["pool", "created"] == 3
    assert outcomes["automation", "created"] == 3
    found = snapshot(server)
    assert {pool["name"]: pool["type"] for pool in found["pools"]} == {
        "cpu": "process", "gpu": "process", "gpu-docker": "docker"}  # fmt: skip
    for queues in found["queues"].values():
        assert {q["name"]: q["priority"] for q in queues} == {"high": 1, "default": 2, "low": 3}
    assert {change["name"] for change in first_deploy["changes"]
            if change["kind"] == "deployment"} >= DEPLOYMENTS  # fmt: skip
    nightly = server.deployment("select-data/pipeline")["schedules"][0]
    assert (nightly["slug"], nightly["active"]) == ("nightly", False)
    assert nightly["parameters"]["config"]["name"] == "nightly"


@pytest.fixture(scope="module")
def second_deploy(server, first_deploy, webhook, project):
    """State before and after a second `bids deploy` with options, and what it said."""
    folder, _ = project
    deployment = server.deployment("select-data/pipeline")
    path = f"/deployments/{deployment['id']}/schedules/{deployment['schedules'][0]['id']}"
    server.ask("PATCH", path, {"active": True})  # somebody switches it on
    automation = next(a for a in server.post("/automations/filter") if a["name"] == RETRY)
    switch = f"/automations/{automation['id']}"
    server.ask("PATCH", switch, {"enabled": False})  # and another one off
    before = snapshot(server)
    options = ("--notify", webhook[0], "--nightly", str(folder / "bids.yaml"))
    said = server.bids("deploy", "--json", *options).stdout
    after = snapshot(server)
    server.ask("PATCH", path, {"active": False})
    server.ask("PATCH", switch, {"enabled": True})
    return before, after, said


@pytest.mark.server
def test_again_changes_nothing_but_what_was_asked_for(second_deploy, project):
    before, after, said = second_deploy
    changed = [c for c in json.loads(said)["changes"] if c["outcome"] != "unchanged"]
    assert [(c["kind"], c["outcome"]) for c in changed] == [
        ("deployment", "updated"),
        ("schedule", "updated"),
        ("notification", "updated"),
        ("automation", "created"),
    ]
    assert "a-secret-path" not in said
    assert [a["name"] for a in after["automations"] if not a["enabled"]] == [RETRY]
    made = [a for a in after["automations"] if a not in before["automations"]]
    assert [a["name"] for a in made] == ["bids: notify on failure"]
    after["automations"] = [a for a in after["automations"] if a not in made]
    (nightly,) = (d["schedules"][0] for d in after["deployments"] if d["schedules"])
    assert nightly["active"] is True
    nightly_config = nightly.pop("parameters")["config"]
    assert nightly_config["pool"][0]["path"] == str(project[0] / "pool" / "*.jsonl")
    for deployment in before["deployments"]:
        for schedule in deployment["schedules"]:
            del schedule["parameters"]
    assert after == before


@pytest.mark.server
def test_runs_end_completed_on_one_worker_of_each_pool(server, second_deploy, project, webhook):
    folder, config = project
    rng = np.random.default_rng(0)
    np.save(folder / "matrix.npy", rng.normal(size=(60, 5)).astype(np.float32))
    cpu = stack.Worker(server, "cpu", folder=folder, limit=2)
    gpu = stack.Worker(server, "gpu", folder=folder)
    with cpu, gpu:
        spread = config | {
            "execution": {"gradients": "deployment", "poll_seconds": 1.0},
            "warmup": config["warmup"] | {"epochs": 1},
            "gradients": config["gradients"] | {"rows_per_shard": 64},
        }
        options = ("-p", f"config={json.dumps(spread)}", "-p", 'until="selection"')
        said = server.prefect("deployment", "run", "select-data/pipeline", *options).stdout
        main = re.search(r"UUID: (\S+)", said)[1]
        picks = server.run(
            "select-matrix/selection",
            {"request": {"matrix": "matrix.npy", "out": "out/picks.parquet", "budget": 9}},
        )
        assert server.wait(picks)["state_type"] == "COMPLETED", server.logs(picks)
        lost = server.run(
            "select-matrix/selection",
            {"request": {"matrix": "nowhere.npy", "out": "out/none.parquet"}},
        )
        assert server.wait(lost)["state_type"] == "FAILED"
        assert server.wait(main)["state_type"] == "COMPLETED", server.logs(main)

    frame = pd.read_parquet(folder / "out" / "picks.parquet")
    expected = select(np.load(folder / "matrix.npy"), 9).indices
    assert frame["row"].tolist() == expected.tolist()
    assert len(pd.read_parquet(folder / "runs" / "tiny" / "ranking.parquet")) == 6
    shards = server.post("/flow_runs/filter", flows={"name": {"any_": ["gradient-shards"]}})
    assert shards, "no gradient shards went over the gpu pool"
    assert {run["state_type"] for run in shards} == {"COMPLETED"}
    assert {run["work_pool_name"] for run in shards} == {"gpu"}
    _, messages = webhook
    stack.wait_for(lambda: messages, "no message of the failed run")
    assert any("nowhere.npy" in message["text"] for message in messages), messages


@pytest.mark.server
def test_an_invalid_value_is_refused_with_the_name_of_its_field(server, first_deploy, project):
    _, config = project
    deployment = server.deployment("select-data/pipeline")["id"]
    wrong = config | {"selection": {"budget": 1.5}}
    answer = server.http.post(
        f"/deployments/{deployment}/create_flow_run", json={"parameters": {"config": wrong}}
    )
    assert answer.status_code == 409
    assert "config.selection.budget" in answer.json()["detail"]


@pytest.mark.server
def test_only_one_deployment_is_touched_when_it_is_named(server, first_deploy):
    path = f"/deployments/{server.deployment('select-matrix/selection')['id']}"
    server.ask("PATCH", path, {"description": "somebody's"})
    said = json.loads(server.bids("deploy", "--json", "--only", "select-matrix/selection").stdout)
    told = [c for c in said["changes"] if c["kind"] not in ("pool", "queue")]
    assert [(c["kind"], c["name"], c["outcome"]) for c in told] == [
        ("deployment", "select-matrix/selection", "updated")
    ]
    assert server.get(path)["description"].startswith("Selection alone")


@pytest.mark.server
def test_only_with_a_wrong_name_changes_nothing(server, first_deploy):
    before = snapshot(server)
    done = server.bids("deploy", "--only", "select-matrix/picks", check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: --only select-matrix/picks: no such deployment; choose from"
    )
    assert "select-matrix/selection" in done.stderr
    assert done.stderr.count("\n") == 1
    assert snapshot(server) == before


def test_without_a_server_it_says_so_in_one_line(tmp_path):
    env = stack._client_environment(tmp_path, "", None)
    env.pop("PREFECT_API_URL")
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "deploy"], env=env, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: PREFECT_API_URL is not set")
    assert done.stderr.count("\n") == 1


def test_an_unreachable_server_is_named():
    url = f"http://127.0.0.1:{stack.free_port()}/api"
    with temporary_settings({PREFECT_API_URL: url}), pytest.raises(UserError, match=url):
        check_server()


def test_a_wrong_name_is_refused_with_the_right_ones():
    with pytest.raises(UserError, match="select-data/pipeline"):
        read_entries(["select-data/pipelines"])


def test_the_nightly_example_is_a_valid_configuration():
    listed = read_entries()
    entries = {flow_name(entry): entry for entry in listed}
    assert len(entries) == len(listed)
    assert set(entries) >= DEPLOYMENTS
    nightly = entries["select-data/pipeline"]["schedules"][0]
    assert nightly["active"] is False
    RunConfig.model_validate(nightly["parameters"]["config"])


@pytest.mark.parametrize("name", ["cpu", "gpu", "gpu-docker", "gpu-kubernetes"])
def test_every_placeholder_of_a_job_template_is_a_described_variable(name):
    folder = resources() / "pools"
    pools = yaml.safe_load((folder / "pools.yaml").read_text())["pools"]
    template = json.loads((folder / pools[name]["template"]).read_text())
    variables = template["variables"]["properties"]
    text = json.dumps(template["job_configuration"])
    used = {part.split("}}")[0].strip() for part in text.split("{{")[1:]}
    assert used | {"env"} == set(variables)  # the worker merges `env` into the template's
    assert all(variable.get("description") for variable in variables.values())
