"""What is published is what was tested: the wheel and the sdist, installed, far from the checkout.

The wheel goes through everything that a user does. The sdist installs the very same files, so its
environment only shows that they are found.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import stack
from distribution.environments import PACKAGES, ROOT
from tiny_project import own_folders, write_project

from bids_core.config.load import load_config

pytestmark = [pytest.mark.distribution, pytest.mark.timeout(600)]
COMMANDS = ("init", "check", "run", "compare", "report", "select", "analyze", "explain", "deploy",
            "store")  # fmt: skip


@pytest.fixture(params=["wheel", "sdist"])
def environment(request):
    return request.getfixturevalue(f"{request.param}_environment")


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_model_folder):
    """The folder of somebody who uses Prefect, with own `flows` and `tasks` beside the data."""
    folder = tmp_path_factory.mktemp("project")
    own_folders(folder)
    write_project(folder, tiny_model_folder)
    np.save(folder / "matrix.npy", np.random.default_rng(0).normal(size=(40, 4)))
    return folder


@pytest.fixture(scope="module")
def finished(wheel_environment, project):
    """What `bids run --json` said, without a server."""
    options = ("--json", "--set", "selection.compare=[random]")
    home = {"PREFECT_HOME": str(project / "prefect")}
    return json.loads(
        wheel_environment.run("bids", "run", "bids.yaml", *options, cwd=project, **home)
    )


def test_the_checkout_is_not_importable(environment, empty):
    assert environment.imported_from(empty) == {environment.site}


def test_wheel_and_sdist_install_the_files_of_the_checkout(wheel_environment, sdist_environment):
    installed = wheel_environment.installed()
    assert installed == sdist_environment.installed()
    checkout = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert set(installed) == checkout


def test_bids_starts_in_an_empty_folder(environment, empty):
    version = environment.run("python", "-m", "bids_select", "--version", cwd=empty)
    assert environment.run("bids", "--version", cwd=empty) == version
    help_page = environment.run("bids", "--help", cwd=empty, COLUMNS="120")
    assert all(f" {command} " in help_page for command in COMMANDS)
    environment.run("bids", "init", cwd=empty)
    starter = (ROOT / "flows" / "commands" / "starter.yaml").read_text()
    assert (empty / "bids.yaml").read_text() == starter
    np.save(empty / "matrix.npy", np.eye(20, 4))
    environment.run("bids", "select", "matrix.npy", "--budget", 4, "--out", "p.csv", cwd=empty)
    assert sorted(pd.read_csv(empty / "p.csv")["row"]) == [0, 1, 2, 3]


def test_check(wheel_environment, project):
    found = json.loads(wheel_environment.run("bids", "check", "bids.yaml", "--json", cwd=project))
    assert found


def test_analyze(wheel_environment, project):
    wheel_environment.run("bids", "analyze", "matrix.npy", "--budget", 5, "--out", "analysis",
                          cwd=project)  # fmt: skip
    assert (project / "analysis" / "plots.html").stat().st_size > 10_000


def test_run_and_report(wheel_environment, project, finished):
    assert finished["selected"]["bids"]["n_selected"] == 6
    page = project / "runs" / "tiny" / "report.html"
    assert "</html>" in page.read_text(encoding="utf-8")
    page.unlink()
    again = json.loads(wheel_environment.run("bids", "report", "runs/tiny", "--json", cwd=project))
    assert again["scores"] == finished["scores"]
    assert page.exists()


@pytest.mark.server
def test_deploy_and_a_run_on_a_worker(server, first_deploy, wheel_environment, project, finished):
    """The wheel's deployments are the checkout's, and a worker in the project's folder runs them.

    Asking for a selection that `bids run` did not make, it computes that, and finds the rest.
    """
    prefect = {n: v for n, v in server.client_env.items() if n.startswith("PREFECT_")}
    said = json.loads(wheel_environment.run("bids", "deploy", "--json", cwd=project, **prefect))
    assert said["url"] == server.url
    assert {change["name"] for change in said["changes"]} == {
        change["name"] for change in first_deploy["changes"]
    }
    manifest = project / "runs" / "tiny" / "manifest.json"  # its paths are relative to its folder
    config = load_config(manifest, []).model_dump(mode="json")
    config |= {"name": "worker", "selection": config["selection"] | {"budget": 4}}
    worker = stack.Worker(
        server, "cpu", folder=project, python=wheel_environment.python,
        env={"PYTHONPATH": str(project)},
    )  # fmt: skip
    with worker:
        run = server.run("select-data/pipeline", {"config": config, "until": "selection"})
        assert server.wait(run)["state_type"] == "COMPLETED", server.logs(run)
    manifest = json.loads((project / "runs" / "worker" / "manifest.json").read_text())
    assert manifest["result"]["matrix"]["fingerprint"]
    assert len(pd.read_parquet(project / "runs" / "worker" / "ranking.parquet")) == 4
