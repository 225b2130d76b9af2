"""When a worker counts as lost: told by a clock that the test moves."""

from __future__ import annotations

import pytest

from flows.dispatch.liveness import START_SECONDS, Liveness, Phase, Sighting, Verdict

LOST_AFTER = 40.0
RUNNING = Sighting(Phase.ACTIVE, "running")
BEAT = LOST_AFTER / 4


class Scene:
    """A piece of work, its worker's lock, and the time."""

    def __init__(self, attempts=3):
        self.now = 1000.0
        self.lock: bytes | None = None
        self.held: frozenset[str] = frozenset()
        self.looks = 0
        self.liveness = Liveness(LOST_AFTER, attempts, clock=lambda: self.now)
        self.liveness.begin_attempt()

    def judge(self, seen=RUNNING):
        def look():
            self.looks += 1
            return self.held, self.lock

        return self.liveness.judge(seen, look)

    def passes(self, seconds, seen=RUNNING, *, beats=False):
        """Let time pass, looking every second; return the verdicts other than WAIT."""
        verdicts = []
        for _ in range(int(seconds)):
            self.now += 1
            if beats:
                self.lock = f"beat {self.now // 5}".encode()
            verdict = self.judge(seen)
            if verdict is not Verdict.WAIT:
                verdicts.append(verdict)
        return verdicts


@pytest.fixture
def scene():
    return Scene()


def test_a_worker_whose_lock_changes_is_alive_for_as_long_as_it_takes(scene):
    assert scene.passes(5000, beats=True) == []


def test_a_worker_that_goes_silent_is_lost_after_the_time_and_not_before(scene):
    scene.passes(20, beats=True)
    silent = scene.now
    assert scene.passes(LOST_AFTER) == []
    assert Verdict.LOST in scene.passes(2 * BEAT + 1)
    assert scene.now - silent <= LOST_AFTER + 2 * BEAT + 1


def test_a_new_artifact_is_a_sign_of_life(scene):
    scene.passes(20, beats=True)
    scene.passes(LOST_AFTER - 1)
    scene.held = frozenset({"gradients/a"})
    assert scene.passes(LOST_AFTER - 1) == []


def test_a_slow_start_is_no_loss_but_one_that_never_ends_is(scene):
    """Imports and the model take their time, and show neither an artifact nor a lock."""
    scene.judge()
    assert scene.passes(LOST_AFTER + START_SECONDS) == []
    assert Verdict.LOST in scene.passes(2 * BEAT)


def test_the_time_to_start_counts_from_the_last_change_of_state(scene):
    scene.passes(START_SECONDS, Sighting(Phase.ACTIVE, "pending"))
    assert scene.passes(LOST_AFTER + START_SECONDS, RUNNING) == []
    assert Verdict.LOST in scene.passes(2 * BEAT, RUNNING)


def test_waiting_in_a_queue_is_no_loss_however_long(scene):
    queued = Sighting(Phase.QUEUED, "scheduled")
    assert scene.passes(100_000, queued) == []
    assert scene.looks == 0
    assert scene.passes(LOST_AFTER + START_SECONDS - 1) == []  # taken: the time starts now
    assert Verdict.LOST in scene.passes(2 * BEAT)


def test_the_lock_of_a_holder_long_lost_is_no_sign_of_work(scene):
    """It is there at the first look, and stays as it is until the new worker takes it over."""
    scene.lock = b"of yesterday"
    assert scene.passes(LOST_AFTER + START_SECONDS) == []
    scene.lock = b"taken over"
    scene.passes(BEAT + 1)
    silent = scene.now
    assert Verdict.LOST in scene.passes(LOST_AFTER + 2 * BEAT)
    assert scene.now - silent < LOST_AFTER + START_SECONDS


def test_while_the_server_is_away_nobody_is_lost(scene):
    scene.passes(20, beats=True)
    assert scene.passes(10 * LOST_AFTER, None, beats=True) == []
    assert scene.judge() is Verdict.WAIT  # the lock has changed since
    assert scene.passes(LOST_AFTER) == []


def test_a_worker_that_died_while_the_server_was_away_is_lost_at_once(scene):
    scene.passes(20, beats=True)
    scene.passes(BEAT)  # its last sign has been seen
    scene.passes(10 * LOST_AFTER, None)
    assert scene.judge() is Verdict.LOST


@pytest.mark.parametrize("mark", ["cancelled", "crashed", "failed", "completed"])
def test_a_run_that_has_ended_is_neither_lost_nor_waited_for(scene, mark):
    assert scene.judge(Sighting(Phase.ENDED, mark)) is Verdict.ENDED
    assert scene.looks == 0


def test_a_cancel_that_nobody_carries_out_is_a_loss(scene):
    scene.passes(20, beats=True)
    cancelling = Sighting(Phase.ACTIVE, "cancelling")
    assert scene.passes(LOST_AFTER, cancelling) == []
    assert Verdict.LOST in scene.passes(2 * BEAT + 1, cancelling)


def test_attempts_are_counted_and_each_has_the_whole_time(scene):
    for attempt in (1, 2, 3):
        assert scene.liveness.attempt == attempt
        assert scene.liveness.is_exhausted == (attempt == 3)
        scene.lock = b"the same for all"
        assert scene.passes(LOST_AFTER + START_SECONDS) == []
        assert Verdict.LOST in scene.passes(2 * BEAT)
        if attempt < 3:
            scene.liveness.begin_attempt()


def test_looks_are_few_whatever_the_pace_of_the_questions(scene):
    for _ in range(4000):
        scene.now += LOST_AFTER / 1000
        scene.lock = f"{scene.now}".encode()
        scene.judge()
    assert scene.looks <= 4 * 4 + 1


def test_a_clock_that_starts_anywhere_will_do():
    for start in (-1e9, 0.0, 1e-9):
        scene = Scene()
        scene.now = start
        scene.liveness.begin_attempt()
        assert scene.passes(LOST_AFTER + START_SECONDS) == []
        assert Verdict.LOST in scene.passes(2 * BEAT)
