from __future__ import annotations

import pytest
from prefect.states import Failed

from bids_core.artifacts import ArtifactStore
from bids_core.errors import ConfigError, NonFiniteError
from tasks.stage import Stage, may_pass, peak_memory, run_stage

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


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ConfigError("bad"), False),
        (NonFiniteError("nan"), False),
        (ValueError("bug"), False),
        (OSError("disk"), True),
        (TimeoutError("slow"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate"), True),
        (RuntimeError("shape mismatch"), False),
    ],
)
def test_only_what_can_pass_is_retried(error, passes):
    assert may_pass(None, None, Failed(data=error)) is passes


def test_peak_memory_is_in_bytes():
    assert 1e6 < peak_memory() < 1e12
