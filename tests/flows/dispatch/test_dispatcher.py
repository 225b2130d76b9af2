"""The loop that hands out work, over a real store; the server's side is played by the test."""

from __future__ import annotations

import logging
from functools import partial
from uuid import UUID, uuid4

import pytest

from bids_core.artifacts import ArtifactStore
from bids_core.artifacts.failures import Failure
from bids_core.config import ExecutionConfig
from bids_core.errors import ConfigError, NonFiniteError, WorkerError
from flows.dispatch import Item, Parcel
from flows.dispatch.dispatcher import _Dispatcher
from flows.dispatch.liveness import Liveness, Phase, Sighting
from flows.dispatch.worker_runs import Places, Seen, Started

QUICK = ExecutionConfig(poll_seconds=0.01, attempts=3, lost_after=30, parallel=1)


def ended(words="completed", failure=None):
    return Seen(Sighting(Phase.ENDED, words), words, failure)


class Worker:
    """Flow runs as a server shows them; each attempt does what its script says."""

    deployment, pool = "flow/gpu", "gpu"

    def __init__(self, store, *script):
        self._store, self._script = store, list(script)
        self.keys: list[str] = []
        self.parameters: list[dict] = []
        self.ended: dict[UUID, Seen] = {}
        self.lost: list[UUID] = []
        self.cancelled: list[UUID] = []
        self.places = lambda: Places(1, 1)

    def start(self, name, parameters, *, key):
        if key in self.keys:
            return Started(list(self.ended)[self.keys.index(key)], is_final=True)
        run_id = uuid4()
        self.keys.append(key)
        self.parameters.append(parameters)
        self.ended[run_id] = self._script.pop(0)(run_id, parameters)
        return Started(run_id, is_final=False)

    def see(self, run_id):
        return self.ended[run_id]

    def count_as_lost(self, run_id):
        self.lost.append(run_id)

    def cancel(self, run_id):
        self.cancelled.append(run_id)


class Source:
    """One parcel of some artifacts."""

    def __init__(self, store, *names):
        self.items = tuple(Item(store.handle("stage", name), name) for name in names)
        self._left = [Parcel("work", self.items, lambda items: {"names": [i.value for i in items]})]
        self.seen_done: list[str] = []
        self.error = None

    def next_parcel(self, slots):
        return self._left.pop() if self._left else None

    def done(self, item):
        self.seen_done.append(item.value)

    def failed(self, parcel, error):
        self.error = error
        self.left = [item.value for item in parcel.items]


@pytest.fixture(params=["folder", "remote"])
def store(request, tmp_path, monkeypatch):
    monkeypatch.setenv("BIDS_CACHE", str(tmp_path / "cache"))
    return ArtifactStore(
        str(tmp_path / "s") if request.param == "folder" else f"memory:/{tmp_path}"
    )


def makes(store, *names, then=None):
    def attempt(run_id, parameters):
        for name in names:
            with store.create("stage", name, version=1, config={}, inputs={}):
                pass
        return then or ended()

    return attempt


def fails(store, failure, words="failed: Flow run encountered an exception: it says"):
    def attempt(run_id, parameters):
        store.failures().write(str(run_id), failure)
        return ended(words)

    return attempt


def dispatch(store, worker, source, execution=QUICK):
    _Dispatcher(worker, source, execution, store).run()


def test_what_is_in_the_store_is_done_whatever_the_run_says(store):
    source = Source(store, "a", "b")
    worker = Worker(store, makes(store, "a", "b", then=ended("crashed: no heartbeat")))
    dispatch(store, worker, source)
    assert source.seen_done == ["a", "b"]
    assert (len(worker.keys), source.error) == (1, None)


def test_a_mistake_is_not_handed_out_again_and_arrives_whole(store):
    message = "config.pool: no such file\n  looked in /a\n  and in /b"
    source = Source(store, "a", "b")
    worker = Worker(store, fails(store, Failure("ConfigError", message)))
    dispatch(store, worker, source)
    assert type(source.error) is ConfigError
    assert str(source.error) == message
    assert (len(worker.keys), source.left) == (1, ["a", "b"])


def test_what_is_no_error_of_ours_but_stays_is_not_handed_out_again_either(store):
    gone = Failure.of(FileNotFoundError(2, "No such file", "/store/prepare"), can_pass=False)
    source = Source(store, "a")
    worker = Worker(store, fails(store, gone))
    dispatch(store, worker, source)
    assert type(source.error) is WorkerError
    assert "FileNotFoundError" in str(source.error)
    assert "/store/prepare" in str(source.error)
    assert len(worker.keys) == 1


def test_a_failure_that_the_store_did_not_take_comes_from_the_server(store):
    told = ended("failed: x", Failure("NonFiniteError", "rows 'a'"))
    source = Source(store, "a")
    dispatch(store, Worker(store, lambda run_id, parameters: told), source)
    assert type(source.error) is NonFiniteError
    assert str(source.error) == "rows 'a'"


def test_what_can_pass_is_handed_out_again_without_what_is_done(store, caplog):
    passing = Failure("OSError", "input/output error", can_pass=True)

    def first(run_id, parameters):
        makes(store, "a")(run_id, parameters)
        return fails(store, passing, "failed: I/O\nsecond line")(run_id, parameters)

    source = Source(store, "a", "b")
    worker = Worker(store, first, makes(store, "b"))
    with caplog.at_level(logging.WARNING):
        dispatch(store, worker, source)
    assert worker.parameters == [{"names": ["a", "b"]}, {"names": ["b"]}]
    assert source.seen_done == ["a", "b"]
    assert source.error is None
    assert "handing out again" in caplog.text
    assert [store.failures().read(str(run)) for run in worker.ended] == [None, None]


@pytest.mark.parametrize("how", ["crashed: no heartbeat", "cancelled: by somebody", "failed: bug"])
def test_attempts_are_exhausted_and_the_last_words_arrive_whole(store, how):
    source = Source(store, "a")
    worker = Worker(store, *[lambda run_id, parameters: ended(f"{how}\nline two")] * 3)
    dispatch(store, worker, source)
    assert type(source.error) is WorkerError
    assert f"work: not done after 3 attempts of flow/gpu ({how}\nline two)" in str(source.error)
    assert store.url in str(source.error)
    assert len(set(worker.keys)) == 3


def test_a_worker_that_is_lost_is_given_up_and_its_work_handed_out_again(store, monkeypatch):
    running = Seen(Sighting(Phase.ACTIVE, "running"), "running", None)
    now = [0.0]

    class Slow(Worker):
        def see(self, run_id):
            now[0] += 10
            return super().see(run_id)

    source = Source(store, "a")
    worker = Slow(store, lambda run_id, parameters: running, makes(store, "a"))
    timed = partial(Liveness, clock=lambda: now[0])
    monkeypatch.setattr("flows.dispatch.dispatcher.Liveness", timed)
    dispatch(store, worker, source)
    assert worker.lost == list(worker.ended)[:1]
    assert source.seen_done == ["a"]


def test_a_server_that_is_away_is_waited_for(store):
    away = iter([None, None])

    class Away(Worker):
        def start(self, name, parameters, *, key):
            return next(away, 1) and super().start(name, parameters, key=key)

    source = Source(store, "a")
    dispatch(store, Away(store, makes(store, "a")), source)
    assert source.seen_done == ["a"]


def test_an_old_run_of_the_same_work_is_not_taken_for_a_new_one(store):
    """Started again after a failure: the failure is forgotten, the work is handed out anew."""
    source = Source(store, "a")
    worker = Worker(store, fails(store, Failure("ConfigError", "x")), makes(store, "a"))
    dispatch(store, worker, source)
    (old,) = worker.ended
    assert store.failures().read(str(old)) is not None
    again = Source(store, "a")
    dispatch(store, worker, again)
    assert (again.error, again.seen_done) == (None, ["a"])
    assert store.failures().read(str(old)) is None


def test_a_parent_that_ends_early_cancels_what_is_out(store):
    class Interrupted(Source):
        def next_parcel(self, slots):
            parcel = super().next_parcel(slots)
            if parcel is None:
                raise KeyboardInterrupt
            return parcel

    running = Seen(Sighting(Phase.QUEUED, "scheduled"), "scheduled", None)
    worker = Worker(store, lambda run_id, parameters: running)
    two = QUICK.model_copy(update={"parallel": 2})
    with pytest.raises(KeyboardInterrupt):
        dispatch(store, worker, Interrupted(store, "a"), two)
    assert worker.cancelled == list(worker.ended)


def test_without_workers_it_says_how_to_start_one(store, caplog):
    worker = Worker(store, makes(store, "a"))
    worker.places = lambda: Places(1, 0)
    dispatch(store, worker, Source(store, "a"), QUICK.model_copy(update={"parallel": None}))
    assert "prefect worker start --pool gpu" in caplog.text
