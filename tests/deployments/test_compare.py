"""A comparison on a real server, its cells side by side on a worker of the gpu pool."""

from __future__ import annotations

import json
import os
import re

import pytest
import stack

METHODS, BUDGETS, SEEDS = ["bids", "random"], [4], [0, 1]


def compare(server, config):
    """Start the deployment as a user would; returns the id of its run, when it has ended."""
    options = [f"config={json.dumps(config)}", f"methods={json.dumps(METHODS)}",
               f"budgets={BUDGETS}", f"seeds={SEEDS}"]  # fmt: skip
    flags = [word for option in options for word in ("-p", option)]
    said = server.prefect("deployment", "run", "compare-methods/comparison", *flags).stdout
    return server.wait(re.search(r"UUID: (\S+)", said)[1], timeout=900)


def stages(server, name):
    """Return the flow runs of workers that fine-tuned or evaluated."""
    found = server.post("/flow_runs/filter", flows={"name": {"any_": ["gpu-stage"]}})
    return [run for run in found if run["name"].startswith(name)]


@pytest.mark.skipif(
    not os.environ.get("BIDS_TEST_STACK"), reason="takes minutes: `make stack` runs it"
)
@pytest.mark.timeout(1800)
@pytest.mark.server
@pytest.mark.usefixtures("first_deploy")
def test_cells_side_by_side_failed_ones_named_and_done_again(server, project):
    folder, config = project
    config = config | {
        "execution": {"training": "deployment", "poll_seconds": 1.0, "parallel": 4},
        "warmup": config["warmup"] | {"epochs": 1},
        "gradients": config["gradients"] | {"rows_per_shard": 64},
    }
    hurried = config | {"execution": config["execution"] | {"timeouts": {"finetune": 0.001}}}
    cpu = stack.Worker(server, "cpu", folder=folder)
    gpu = stack.Worker(server, "gpu", folder=folder, limit=2)
    with cpu, gpu:
        run = compare(server, hurried)
        assert run["state_type"] == "FAILED"
        assert "4 of 5 cells failed: bids 4 rows seed 0 (finetune: " in run["state"]["message"]
        summary = json.loads((folder / "runs" / "tiny" / "comparison.json").read_text())
        assert len(summary["failed"]) == 4
        assert all("execution.timeouts.finetune" in cell["reason"] for cell in summary["failed"])
        assert len(stages(server, "evaluation")) == 1  # the base model's

        run = compare(server, config)
        assert run["state_type"] == "COMPLETED", server.logs(run["id"])
    tuned = [r for r in stages(server, "finetune") if r["state_type"] == "COMPLETED"]
    assert len(tuned) == 4
    first_end = min(run["end_time"] for run in tuned)
    assert all(run["created"] < first_end for run in tuned), "handed out one after the other"
    assert len(stages(server, "evaluation")) == 5
    summary = json.loads((folder / "runs" / "tiny" / "comparison.json").read_text())
    assert summary["failed"] == []
    assert [(arm["method"], arm["n_seeds"]) for arm in summary["arms"]] == [
        ("zero_shot", 0), ("bids", 2), ("random", 2),
    ]  # fmt: skip
    (folder / "again.yaml").write_text(json.dumps(config | {"execution": {}}))
    here = server.bids(
        "compare", "again.yaml", "--methods", "bids,random", "--budgets", "4", "--seeds", "0,1",
        cwd=folder,
    )  # fmt: skip
    ended = re.findall(r"[=✓] (finetune|evaluation) .* (cached|\d+ s|< 1 s)", here.stderr)
    assert [how for _, how in ended] == ["cached"] * 9  # what workers made is what is looked for
