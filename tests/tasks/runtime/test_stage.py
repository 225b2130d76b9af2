from __future__ import annotations

from bids_core.artifacts import ArtifactStore
from tasks.runtime.stage import Stage, look, peak_memory, run_stage, stage_task

STAGE = Stage("stage", 1, config={"a": 1}, inputs={})


def test_a_stage_is_computed_once_and_then_found(tmp_path):
    store = ArtifactStore(str(tmp_path))
    calls = []

    def compute(draft, progress):
        calls.append(1)
        (draft.path / "file").write_text("x")

    first = run_stage(store, STAGE, compute, label="stage")
    second = run_stage(store, STAGE, compute, label="stage")
    assert (first.name, second.name) == ("Completed", "Cached")
    assert first.data == second.data
    assert len(calls) == 1
    assert first.data.summary()["peak_memory_bytes"] > 0


def test_looking_tells_the_handle_and_computes_nothing(tmp_path):
    store, calls = ArtifactStore(str(tmp_path)), []

    @stage_task("stage")
    def stage(number):
        def compute(draft, progress):
            calls.append(number)
            (draft.path / "file").write_text("x")

        return run_stage(store, Stage("stage", 1, {"n": number}, inputs={}), compute, label="s")

    handle, found = look(stage, 1)
    assert (found, calls) == (False, [])
    assert stage.fn(1).data == handle
    assert look(stage, 1) == (handle, True)
    assert calls == [1]


def test_peak_memory_is_in_bytes():
    assert 1e6 < peak_memory() < 1e12
