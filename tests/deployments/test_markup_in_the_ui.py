"""Texts that look like markup, in the Prefect UI: nothing of them runs, nothing is fetched.

Screenshots go to the folder that BIDS_SCREENSHOTS names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [pytest.mark.server, pytest.mark.browser, pytest.mark.timeout(600)]

# What the flows themselves publish, of a matrix and a configuration whose texts are markup.
PUBLISH = """
import datetime, json, sys
from pathlib import Path

import numpy as np, pandas as pd
from prefect import flow
from prefect.artifacts import create_markdown_artifact

from bids_core.config import RunConfig
from flows.select_matrix import MatrixSelection, select_matrix
from tasks.run_result import RunResult
from tasks.ui_artifacts import _summary

folder, markup, name = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
values = np.random.default_rng(0).normal(size=(12, 3))
frame = pd.DataFrame(values, columns=[f"{i} {markup}" for i in range(3)])
frame.insert(0, "row_id", [f"{i} {markup}" for i in range(12)])
frame.to_parquet(folder / "m.parquet")
(folder / "tasks.json").write_text(json.dumps([markup] * 3))
(folder / "sources.json").write_text(json.dumps([markup] * 12))
out = folder / markup / "picks.parquet"
request = MatrixSelection(matrix=str(folder / "m.parquet"), out=str(out), budget=4,
                          tasks=str(folder / "tasks.json"), sources=str(folder / "sources.json"))
select_matrix.with_options(flow_run_name=name)(request)

@flow(name="summary", flow_run_name=name)
def summary():
    config = RunConfig.model_validate({
        "name": "x", "model": {"path": markup}, "pool": [{"path": "p"}],
        "validation": [{"path": "v", "task": "t", "capability": "c"}]})
    done = RunResult(name="x", folder=out.parent, started=datetime.datetime.now(datetime.UTC))
    create_markdown_artifact(_summary(config, done), key="x-summary")

summary()
"""


@pytest.fixture
def elsewhere():
    """A server that a page might call; the paths that were asked for."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listener.server_port}", seen
        listener.shutdown()


def test_nothing_of_it_runs_and_nothing_is_fetched(server, page, shots, tmp_path, elsewhere):
    address, seen = elsewhere
    mark = "document.documentElement.setAttribute('data-ran','1')"
    markup = (
        f'`x` ![i]({address}/md.png) <img src={address}/img.png onerror="{mark}">'
        f"<script>{mark}</script>[l](javascript:{mark}) <b>bold</b> | a | **b**"
    )
    done = subprocess.run(
        [sys.executable, "-c", PUBLISH, str(tmp_path), markup, markup],
        env=server.client_env, capture_output=True, text=True, cwd=os.getcwd(), timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    ui = server.url.removesuffix("/api")
    runs = server.post("/flow_runs/filter", flow_runs={"name": {"any_": [markup]}})
    of_runs = {"flow_run_id": {"any_": [run["id"] for run in runs]}}
    shown = server.post("/artifacts/filter", artifacts=of_runs)
    assert {one["key"] for one in shown} == {"matrix-picks", "x-summary"}
    addresses = {
        "runs": f"{ui}/runs",
        **{
            f"run-{one['key']}": f"{ui}/runs/flow-run/{one['flow_run_id']}?tab=Artifacts"
            for one in shown
        },
        **{one["key"]: f"{ui}/artifacts/artifact/{one['id']}" for one in shown},
        "artifacts": f"{ui}/artifacts",
    }
    for name, place in addresses.items():
        page.goto(place)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(2000)
        page.screenshot(path=shots / f"markup-{name}.png", full_page=True)
        assert page.evaluate("document.documentElement.dataset.ran") is None, name
        assert page.locator(f"img[src^='{address}']").count() == 0, name
        assert seen == [], name
    page.goto(addresses["matrix-picks"])
    page.get_by_text("onerror").first.wait_for()  # the text itself is there to be read
    assert "![i](" in json.dumps(shown)
