from __future__ import annotations

import pytest

from bids_core.artifacts import ArtifactStore, Identity
from bids_core.config import RunConfig
from bids_core.models.memory import peak_memory
from tasks.runtime.stage import stage_task


@pytest.fixture
def config(tmp_path):
    return RunConfig.model_validate(
        {
            "model": {"path": "m"},
            "pool": [{"path": "p"}],
            "validation": [{"path": "v", "task": "t", "capability": "c"}],
            "store": str(tmp_path / "store"),
        }
    )


@pytest.fixture
def stage():
    """A stage that counts how often it computes."""

    def identify(config: RunConfig, number: int) -> Identity:
        return Identity("stage", 1, config={"n": number}, inputs={}, uses=("other/1",))

    def compute(config, number, *, draft, progress):
        task.calls.append(number)
        (draft.path / "file").write_text(str(number))
        draft.summary["n"] = number
        progress(1, 1)

    task = stage_task("stage", identify, compute, label="stage {number}")
    task.calls = []
    return task


def test_a_stage_is_computed_once_and_then_found(stage, config):
    first, second = stage.fn(config, 1), stage.fn(config, 1)
    assert (first.name, second.name) == ("Completed", "Cached")
    assert first.data == second.data
    assert stage.calls == [1]
    assert first.data.summary()["n"] == 1
    assert first.data.summary()["peak_memory_bytes"] > 0
    assert first.data.record()["uses"] == ["other/1"]


def test_identifying_computes_nothing_and_says_where_the_result_will_be(stage, config):
    store, identity = ArtifactStore(config.store), stage.identify(config, 1)
    assert store.get(identity) is None
    assert stage.calls == []
    handle = stage.fn(config, number=1).data
    assert handle.key == identity.key
    assert store.get(identity) == handle


def test_another_argument_is_another_result(stage, config):
    assert stage.fn(config, 1).data != stage.fn(config, 2).data


def test_peak_memory_is_in_bytes():
    assert 1e6 < peak_memory() < 1e12
