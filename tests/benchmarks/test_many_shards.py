"""The benchmark of very many shards: what it makes of what it saw; its shards, without a server."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import sleeping_shards

import tasks.gradients
from bids_core.config import RunConfig
from flows.spread import all_gradients
from tasks.prepare import prepare_data
from tasks.warmup import run_warmup

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def many_shards(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("many_shards")


def result(shards, *, plan, rows):
    return {"shards": shards, "plan_seconds": plan, "cpu": {"server": 2.0 * shards},
            "peak_bytes": {}, "rows": {"events": rows}, "database_bytes": 10}  # fmt: skip


def test_growth_and_what_one_more_takes(many_shards):
    powers = many_shards.growth(
        [result(100, plan=1.0, rows=500), result(1000, plan=100.0, rows=5000)]
    )
    assert powers["seconds to plan"] == pytest.approx(2)
    assert powers["rows, events"] == powers["processor seconds, server"] == pytest.approx(1)
    history = [
        {"shards": shards, "cpu": {"server": cpu}}
        for shards, cpu in [(0, 3.0), (10, 9.0), (30, 13.0)]  # starting is no shard's
    ]
    assert many_shards.marginal(history) == {"server": pytest.approx(0.2)}
    assert many_shards.marginal(history[:2]) == {}


def test_shards_that_sleep_are_stored_as_real_ones_are(tmp_path, tiny_model_folder, monkeypatch):
    monkeypatch.setattr(tasks.gradients, "_computed", tasks.gradients._computed)  # put back after
    found = sleeping_shards.write_project(tmp_path, tiny_model_folder, shards=8)
    sleeping_shards.leave_warmup(found)
    sleeping_shards.sleep_instead(0.0)
    found["execution"] = {"gradients": "inline"}
    config = RunConfig.model_validate(found)
    data = prepare_data.fn(config).data
    warm = run_warmup.fn(config, data).data
    monkeypatch.setattr("flows.spread.run_gradient_shard", Plain)
    stored = [handle for part in all_gradients(config, data, warm) for handle in part.train]
    assert len(stored) == len({handle.key for handle in stored}) == 8
    assert all(handle.summary()["rows"] == sleeping_shards.ROWS_PER_SHARD for handle in stored)


class Plain:
    """The shard's task without Prefect around it."""

    identify = staticmethod(tasks.gradients.run_gradient_shard.identify)

    def __new__(cls, *arguments):
        return tasks.gradients.run_gradient_shard.fn(*arguments).data
