"""The demo in small, as a user runs it: the real model, the real command, no server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
TASKS = 5


def command(folder, *arguments):
    environment = os.environ | {"PREFECT_HOME": str(folder / "prefect")}
    if "PYTEST_XDIST_WORKER" not in environment:  # beside another, threads wait for one another
        environment.pop("OMP_NUM_THREADS", None)  # a real model: as many threads as torch likes
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.real_model
@pytest.mark.timeout(1800)
def test_the_demo_in_small_runs_and_is_cached(tmp_path):
    data = tmp_path / "data"
    command(tmp_path, ROOT / "examples/demo/make_data.py", data)
    config = tmp_path / "config.yaml"
    config.write_text((ROOT / "examples/demo/config.yaml").read_text())
    small = ["pool.0.limit=20", "pool.0.sample_seed=0", "selection.budget=6", "warmup.fraction=1"]
    small += [f"{split}.{i}.limit=2" for split in ("validation", "test") for i in range(TASKS)]
    options = [part for override in small for part in ("--set", override)]

    first = command(tmp_path, "-m", "flows.cli", "run", config, "--json", *options)
    result = json.loads(first.stdout)
    assert result["selected"]["bids"]["n_selected"] == 6
    assert set(result["macro_average"]) == {"zero_shot", "bids", "less", "random"}
    for step in ("warmup", "gradients checkpoint 1", "attribution", "evaluation bids"):
        assert f"✓ {step}" in first.stderr

    folder = Path(result["folder"])
    picks = pd.read_parquet(folder / "ranking.parquet")
    assert picks["row_id"].is_unique
    assert picks["winning_task"].isin({t["task"] for t in result["scores"]}).all()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script src" not in page
    assert "Which kinds of rows were picked" in page
    assert "http://" not in page.replace("http://www.w3.org", "")

    second = command(tmp_path, "-m", "flows.cli", "run", config, "--json", *options)
    assert second.stderr.count("✓") == 1  # only the report is written again
    assert "✓ report" in second.stderr
    assert json.loads(second.stdout)["artifacts"] == result["artifacts"]
