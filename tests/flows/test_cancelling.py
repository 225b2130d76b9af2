"""A run that is cancelled on the server stops without its worker's help."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.states import Cancelling, Crashed

from flows import cancelling
from flows.cancelling import NO_HEARTBEAT, RunCancelledError, cancellable

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(autouse=True)
def of_a_deployment(monkeypatch):
    monkeypatch.setattr(cancelling, "deployment", SimpleNamespace(id="some"))
    monkeypatch.setattr(cancelling, "POLL_SECONDS", 0.1)


def state_of(run_id):
    with get_client(sync_client=True) as client:
        return client.read_flow_run(UUID(run_id)).state


def test_a_cancelled_run_stops_cleans_up_and_says_so():
    seen = {}

    def cancel(run_id):
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(UUID(run_id), Cancelling())

    @flow
    def long():
        seen["id"] = flow_run.id
        with cancellable():
            threading.Timer(0.3, cancel, [flow_run.id]).start()
            try:
                time.sleep(60)
            finally:
                seen["cleaned up"] = True

    started = time.monotonic()
    with pytest.raises(RunCancelledError):
        long()
    assert time.monotonic() - started < 30
    assert seen["cleaned up"]
    assert state_of(seen["id"]).is_cancelled()


def test_a_run_that_is_let_alone_is_not_touched():
    @flow
    def short():
        with cancellable():
            time.sleep(0.3)
        return flow_run.id

    assert state_of(short()).is_completed()


@pytest.mark.parametrize(("why", "ends"), [(NO_HEARTBEAT, "Running"), ("killed", "Crashed")])
def test_a_run_that_was_given_up_for_its_silence_alone_says_that_it_lives(why, ends):
    seen = []

    @flow
    def silent():
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(UUID(flow_run.id), Crashed(message=why), force=True)
        with cancellable():
            time.sleep(1)
            seen.append(state_of(flow_run.id).name)

    silent(return_state=True)
    assert seen == [ends]
