"""The stack of docker/compose.yaml without containers, on PostgreSQL and Redis, with auth on."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import httpx
import pytest
import stack
import yaml

COMPOSE = Path(__file__).parents[2] / "docker" / "compose.yaml"
AUTH = "admin:only-for-this-test"


takes_minutes = pytest.mark.skipif(
    not os.environ.get("BIDS_TEST_STACK"), reason="takes minutes: `make stack` runs it"
)


def compose_environment():
    """Return the variables of compose's server, anchors and all."""
    return yaml.safe_load(COMPOSE.read_text())["x-server"]


@pytest.mark.skipif(
    bool(stack.missing_programs("postgres", "redis-server")),
    reason="PostgreSQL and Redis are not installed (apt-get install postgresql redis-server)",
)
@takes_minutes
@pytest.mark.timeout(900)
@pytest.mark.server
def test_the_split_stack_with_auth_completes_a_run(tmp_path, project):
    pytest.importorskip("prefect_redis", reason="prefect-redis is not installed: .[server]")
    folder, config = project
    with stack.Server(tmp_path, database="postgres", redis=True, auth=AUTH) as server:
        for method, path in (("POST", "/flows/filter"), ("GET", "/admin/version")):
            answer = httpx.request(
                method, f"{server.url}{path}", json={} if method == "POST" else None
            )
            assert answer.status_code == 401, path
            wrong = httpx.request(method, f"{server.url}{path}", auth=("admin", "wrong"))
            assert wrong.status_code == 401, path
        assert httpx.get(f"{server.url}/health").status_code == 200

        env = {k: v for k, v in server.client_env.items() if k != "PREFECT_API_AUTH_STRING"}
        refused = server.bids("deploy", env=env, check=False)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert "PREFECT_API_AUTH_STRING" in refused.stderr

        json.loads(server.bids("deploy", "--json").stdout)
        cpu = stack.Worker(server, "cpu", folder=folder, env={"BIDS_ALLOWED_PATHS": str(tmp_path)})
        spread = config | {
            "name": "native",
            "seed": 3,
            "execution": {"gradients": "deployment", "poll_seconds": 1.0},
            "warmup": config["warmup"] | {"epochs": 1},
            "gradients": config["gradients"] | {"rows_per_shard": 64},
        }
        with cpu:
            run = server.run("select-data/pipeline", {"config": spread})
            assert server.wait(run)["state_type"] == "FAILED"
            found = server.get(f"/flow_runs/{run}")["state"]["message"]
            assert re.search(r"ConfigError: store: '\.bids' is outside", found), found
        allowed = {"BIDS_ALLOWED_PATHS": f"{folder},{config['model']['path']}"}
        cpu = stack.Worker(server, "cpu", folder=folder, env=allowed)
        gpu = stack.Worker(server, "gpu", folder=folder, env=allowed)
        with cpu, gpu:
            run = server.run("select-data/pipeline", {"config": spread, "until": "selection"})
            assert server.wait(run)["state_type"] == "COMPLETED", server.logs(run)
        parts = (server, server.services, server.redis, server.postgres, cpu, gpu)
        texts = [part.text() for part in parts]
        texts += server.logs(run)
        files = (path for path in folder.rglob("*") if path.suffix in {".json", ".html", ".log"})
        texts += [path.read_text(errors="replace") for path in files]
        assert not [text for text in texts if AUTH.split(":")[1] in text]


@takes_minutes
@pytest.mark.server
@pytest.mark.browser
def test_the_ui_asks_for_the_password(tmp_path, page, shots):
    page.set_viewport_size({"width": 620, "height": 380})
    with stack.Server(tmp_path, auth=AUTH) as server:
        page.goto(server.url.removesuffix("/api"))
        box, button = page.locator("input[type=password]"), page.get_by_role("button", name="Login")
        box.fill("admin:wrong")
        button.click()
        page.get_by_text("Invalid credentials").wait_for()
        page.screenshot(path=shots / "ui-login.png")
        box.fill(AUTH)
        button.click()
        page.wait_for_url("**/dashboard**")
        box.wait_for(state="detached")


def test_it_is_the_stack_of_compose(tmp_path):
    """The settings that the test above runs with are those of compose.yaml."""
    if stack.missing_programs("postgres", "redis-server"):
        pytest.skip("PostgreSQL and Redis are not installed")
    server = stack.Server(tmp_path, database="postgres", redis=True, auth=AUTH)
    compose = compose_environment()
    server.http.close()
    names = {name for name in server.env if name.startswith("PREFECT_")}
    own = {"PREFECT_HOME", "PREFECT_API_URL", "PREFECT_API_AUTH_STRING",
           "PREFECT_SERVER_UI_API_URL"}  # fmt: skip
    assert names - own <= set(compose)
    for name in ("PREFECT_MESSAGING_BROKER", "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING",
                 "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"):  # fmt: skip
        assert compose[name] == server.env[name]
