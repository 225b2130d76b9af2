"""What a run leaves on a server: artifacts, and the library's log lines."""

from __future__ import annotations

import json
import re
import time

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    LogFilter,
)
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from bids_core.config.load import load_config
from flows.select_data import select_data

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_artifacts_and_logs_of_a_run(project):
    few = ["name=My_run.1", "selection.compare=[]", "analysis.leave_out=[]"]
    config = load_config(project / "bids.yaml", few)
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: True}):
        state = select_data(config, return_state=True)
    run = state.state_details.flow_run_id
    assert state.is_completed()
    with get_client(sync_client=True) as client:
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        found = client.read_artifacts(artifact_filter=of_run, limit=100)
        shown = {one.key: one for one in found}
        for _ in range(20):  # log lines are sent in the background
            lines = client.read_logs(LogFilter(flow_run_id={"any_": [run]}), limit=200)
            messages = [line.message for line in lines]
            if "report: finished" in " ".join(messages):
                break
            time.sleep(0.5)
    assert {key: one.type for key, one in shown.items()} == {
        "my-run-1-gradients": "progress",
        "my-run-1-summary": "markdown",
        "my-run-1-picks": "table",
        "my-run-1-scores": "table",
        "my-run-1-figure-scores": "image",
        "my-run-1-figure-influence": "image",
        "my-run-1-figure-picks": "image",
        "my-run-1-report": "markdown",  # links are shown as markdown
    }
    assert shown["my-run-1-gradients"].data == 100
    assert re.fullmatch(r"82 examples in .*/s", shown["my-run-1-gradients"].description)
    assert "32 pool rows, 9 validation instances, 12 test rows" in shown["my-run-1-summary"].data
    assert "| warmup |" in shown["my-run-1-summary"].data
    picks = json.loads(shown["my-run-1-picks"].data)
    assert [pick["rank"] for pick in picks] == [1, 2, 3, 4, 5, 6]
    assert picks[0]["prompt"].split()[0] in ("add", "max", "min")
    assert "report.html" in shown["my-run-1-report"].data
    assert any(re.fullmatch(r"epoch 1 of 2: loss \d+\.\d+", line) for line in messages)
    assert any(line.startswith("evaluation bids: finished") for line in messages)
