"""Runs in a folder of somebody who uses Prefect: it has `flows` and `tasks` of its own."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import stack
from tiny_project import own_folders, write_project

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def crowded(tmp_path_factory, tiny_model_folder):
    """A project's folder with somebody's own flows beside the data; and its configuration."""
    folder = tmp_path_factory.mktemp("crowded")
    own_folders(folder)
    # a bare folder, which Python takes before an editable installation all the same
    (folder / "tasks" / "__init__.py").unlink()
    np.save(folder / "matrix.npy", np.random.default_rng(0).normal(size=(40, 4)))
    return folder, write_project(folder, tiny_model_folder)


def test_bids_run(server, crowded):
    folder, _ = crowded
    command = [sys.executable, "-m", "bids_select", "run", "bids.yaml", "--until", "prepare"]
    env = server.client_env | {"PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (folder / "runs" / "tiny" / "manifest.json").exists()


def test_a_worker_started_there(server, first_deploy, crowded):
    folder, config = crowded
    matrix = {"matrix": "matrix.npy", "budget": 5, "out": "picks.parquet"}
    path = {"PYTHONPATH": str(folder)}  # people set it, to have their own flows found
    with stack.Worker(server, "cpu", folder=folder, limit=2, env=path):
        selection = server.run("select-matrix/selection", {"request": matrix})
        main = server.run("select-data/pipeline", {"config": config, "until": "prepare"})
        for run in (selection, main):
            assert server.wait(run)["state_type"] == "COMPLETED", server.logs(run)
    assert len(pd.read_parquet(folder / "picks.parquet")) == 5
