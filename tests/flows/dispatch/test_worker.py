"""A worker's flow run leaves its failure in the store; a user's mistake leaves no traceback."""

from __future__ import annotations

import logging
import shutil
from types import SimpleNamespace
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from bids_core.artifacts import ArtifactStore
from bids_core.artifacts.failures import Failure
from bids_core.config import RunConfig
from bids_core.errors import BidsError, ConfigError
from flows.admission import admit
from flows.dispatch import worker
from flows.dispatch.worker import telling_failures
from flows.dispatch.worker_runs import WorkerRuns

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(autouse=True)
def of_a_deployment(monkeypatch):
    monkeypatch.setattr(worker, "deployment", SimpleNamespace(id="some"))


@pytest.fixture
def config(tmp_path):
    return RunConfig.model_validate(
        {
            "store": str(tmp_path / "store"),
            "model": {"path": "m"},
            "pool": [{"path": str(tmp_path / "p")}],
            "validation": [{"path": "v", "task": "t", "capability": "c"}],
        }
    )


def run_of(config, work):
    """Run a flow as a worker does; returns the id of its run."""
    seen = {}

    @flow(persist_result=False)
    def handed_out():
        seen["id"] = flow_run.id
        with telling_failures(config):
            admit(config)
            work()

    try:
        handed_out()
    except (BidsError, OSError, RuntimeError) as error:
        seen["error"] = error
    return seen["id"], seen.get("error")


def raising(error):
    def work():
        raise error

    return work


def seen_by_the_server(run_id):
    with get_client(sync_client=True) as client:
        runs = object.__new__(WorkerRuns)
        runs._client = client
        return runs.see(UUID(run_id))


def test_a_mistake_is_left_in_the_store_and_logged_in_one_line(config, caplog):
    mistake = ConfigError("pool: no rows\nin any of 3 files")
    with caplog.at_level(logging.INFO):
        run_id, error = run_of(config, raising(mistake))
    assert error is mistake
    found = ArtifactStore(config.store).failures().read(run_id)
    assert found == Failure("ConfigError", "pool: no rows\nin any of 3 files", can_pass=False)
    logged = [record for record in caplog.records if record.name == "prefect.flow_runs"]
    assert any(record.getMessage() == str(mistake) for record in logged)
    assert not any(record.exc_info for record in logged)
    seen = seen_by_the_server(run_id)
    assert seen.words.endswith("ConfigError: pool: no rows\nin any of 3 files")
    assert seen.failure is None


def test_a_bug_keeps_its_traceback_and_may_be_tried_elsewhere(config, caplog):
    run_id, _ = run_of(config, raising(RuntimeError("CUDA error: an illegal access")))
    found = ArtifactStore(config.store).failures().read(run_id)
    assert found == Failure("RuntimeError", "CUDA error: an illegal access", can_pass=True)
    assert any(record.exc_info for record in caplog.records if record.name == "prefect.flow_runs")


def test_a_store_that_is_deleted_is_no_reason_to_try_again(config, tmp_path):
    store = ArtifactStore(config.store)
    with store.create("prepare", "0" * 32, version=1, config={}, inputs={}) as draft:
        (draft.path / "data").write_text("x")
    handle = store.handle("prepare", "0" * 32)

    def work():
        folder = handle.path()
        shutil.rmtree(store.root)
        (folder / "data").read_text()

    run_id, _ = run_of(config, work)
    found = store.failures().read(run_id)
    assert (found.type, found.can_pass) == ("FileNotFoundError", False)
    run_id, _ = run_of(config, handle.path)
    assert store.failures().read(run_id).type == "ArtifactError"


def test_a_store_that_takes_nothing_leaves_the_word_with_the_server(config, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bids_core.artifacts.failures.Failures.write", full)
    run_id, _ = run_of(config, raising(ConfigError("the mistake")))
    assert "could not record the failure" in caplog.text
    assert seen_by_the_server(run_id).failure == Failure("ConfigError", "the mistake")


def test_a_store_out_of_bounds_is_neither_read_nor_written(config, monkeypatch, tmp_path):
    monkeypatch.setenv("BIDS_ALLOWED_PATHS", str(tmp_path / "elsewhere"))
    run_id, error = run_of(config, raising(AssertionError("never reached")))
    assert isinstance(error, ConfigError)
    assert not (tmp_path / "store").exists()
    assert seen_by_the_server(run_id).failure == Failure("ConfigError", str(error))


def test_a_path_out_of_bounds_is_told_in_the_store(config, monkeypatch, tmp_path):
    monkeypatch.setenv("BIDS_ALLOWED_PATHS", str(tmp_path / "store"))
    run_id, error = run_of(config, raising(AssertionError("never reached")))
    assert ArtifactStore(config.store).failures().read(run_id).message == str(error)


def test_a_run_that_nobody_handed_out_leaves_nothing(config, monkeypatch):
    monkeypatch.setattr(worker, "deployment", SimpleNamespace(id=None))
    run_id, _ = run_of(config, raising(ConfigError("x")))
    assert ArtifactStore(config.store).failures().read(run_id) is None


def test_what_succeeds_leaves_nothing(config):
    run_id, error = run_of(config, lambda: None)
    assert error is None
    assert ArtifactStore(config.store).failures().read(run_id) is None
