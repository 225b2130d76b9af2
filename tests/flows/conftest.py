"""A whole run on a tiny model, and one Prefect server for all flow tests."""

from __future__ import annotations

import gc
import os
import sys

import pytest
from tiny_project import write_project

os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["DO_NOT_TRACK"] = "1"


@pytest.fixture
def project(tmp_path, tiny_model_folder, monkeypatch):
    """A folder with data and bids.yaml; the current folder of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIDS_CACHE", str(tmp_path / "cache"))
    write_project(tmp_path, tiny_model_folder)
    return tmp_path


@pytest.fixture(scope="session")
def prefect_server():
    """Start one temporary Prefect server for the session."""
    from prefect.testing.utilities import prefect_test_harness

    import flows.select_data  # noqa: F401

    gc.collect()
    gc.freeze()  # the imports above, for the first test's sake; see _imported_for_good
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def bids(monkeypatch, capsys):
    """Run the command line in this process; returns (exit status, stdout, stderr)."""

    from flows import cli

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bids", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return run
