"""A stage that takes longer than the configuration allows, under the real engine."""

from __future__ import annotations

import pytest
from prefect import flow

from bids_core.artifacts import Identity
from bids_core.config import RunConfig
from bids_core.errors import StageTimeoutError
from tasks.runtime.stage import stage_task


@pytest.mark.usefixtures("prefect_server")
def test_a_stage_that_takes_too_long_is_stopped_and_not_tried_again(tmp_path):
    calls = []

    def identify(config: RunConfig) -> Identity:
        return Identity("warmup", 1, config={}, inputs={})

    def compute(config, *, draft, progress):
        calls.append(1)
        while True:
            sum(range(1000))

    endless = stage_task("warmup", identify, compute)

    @flow
    def slow(config: RunConfig):
        endless(config)

    config = RunConfig.model_validate(
        {
            "model": {"path": "m"},
            "pool": [{"path": "p"}],
            "validation": [{"path": "v", "task": "t", "capability": "c"}],
            "store": str(tmp_path / "store"),
            "execution": {"timeouts": {"warmup": 0.5}},
        }
    )
    with pytest.raises(StageTimeoutError, match=r"warmup took longer.*timeouts\.warmup, 0\.5 s"):
        slow(config)
    assert calls == [1]
