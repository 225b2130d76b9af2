"""How shards are grouped into flow runs, and what is told to workers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from bids_core.artifacts import ArtifactStore, Handle
from bids_core.config import RunConfig
from bids_core.errors import UserError
from flows import spread
from flows.dispatch import Item
from flows.gpu_stage import _checked
from flows.spread import ShardGroups, portable
from tasks.gradients import Shard


@pytest.fixture
def config(tmp_path):
    return RunConfig.model_validate(
        {
            "store": str(tmp_path),
            "model": {"path": "m"},
            "pool": [{"path": "p"}],
            "validation": [{"path": "v", "task": "t", "capability": "c"}],
        }
    )


class Done:
    """A handle whose shard took a known time."""

    def __init__(self, name, seconds):
        self.key, self._seconds = f"gradients/{name}", seconds

    def summary(self):
        return {"compute_seconds": self._seconds}


def groups(monkeypatch, config, seconds_per_shard, *, shards=40, rows=10):
    frame = pd.DataFrame({"input_ids": [np.zeros(5)] * (shards * rows)})
    empty = pd.DataFrame({"input_ids": pd.Series(dtype=object)})
    prepared = SimpleNamespace(
        train=SimpleNamespace(frame=frame), validation=SimpleNamespace(frame=empty)
    )
    monkeypatch.setattr(spread, "load_prepared", lambda data: prepared)
    missing = [
        Item(Done(f"{checkpoint}-{i}", seconds_per_shard),
             Shard(split="train", checkpoint=checkpoint, start=i * rows, stop=(i + 1) * rows))
        for checkpoint in (1, 2) for i in range(shards // 2)
    ]  # fmt: skip
    warm = SimpleNamespace(summary=lambda: {"seconds": 10.0, "tokens": 500})
    progress = SimpleNamespace(computed=lambda shard: None)
    return ShardGroups(missing, config, None, warm, progress)


def test_groups_start_small_then_follow_the_measured_speed(monkeypatch, config):
    source = groups(monkeypatch, config, seconds_per_shard=60.0)
    first = source.next_parcel(slots=2)
    assert len(first.items) == 20  # a second each by the warmup's speed; one checkpoint a group
    source.done(first.items[0])
    assert len(source.next_parcel(slots=2).items) == 5  # 300 s of 60 s each


def test_the_last_groups_are_shared_evenly(monkeypatch, config):
    source = groups(monkeypatch, config, seconds_per_shard=20.0)
    source.done(source.next_parcel(slots=4).items[0])
    sizes = []
    while (parcel := source.next_parcel(slots=4)) is not None:
        sizes.append(len(parcel.items))
    assert sum(sizes) == 20
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes) == 5  # 400 s of work over four slots


def test_a_parcel_tells_all_that_a_worker_needs(monkeypatch, config):
    source = groups(monkeypatch, config, seconds_per_shard=1.0)
    source._data = source._warm = Handle(store="s", stage="prepare", fingerprint="0" * 32)
    parcel = source.next_parcel(slots=1)
    rest = parcel.without({parcel.items[0].handle.key})
    told = rest.parameters(rest.items)
    assert set(told) == {"config", "data", "warm", "shards"}
    first = {"split": "train", "checkpoint": 1, "start": 10, "stop": 20, "earlier": []}
    assert told["shards"][0] == first
    assert RunConfig.model_validate(told["config"]) == config


def test_a_configuration_that_travels_names_store_and_dtype(config, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    relative = config.model_copy(update={"store": "here"})
    found = portable(relative, ArtifactStore("here"))
    assert found.store == str(tmp_path / "here")
    assert found.model.dtype in ("float32", "bfloat16", "float16")
    fixed = config.model.model_copy(update={"dtype": "float16", "device": "cuda:7"})
    kept = portable(config.model_copy(update={"model": fixed}), ArtifactStore("here"))
    assert kept.model == fixed


def test_arguments_of_a_stage_are_checked_by_the_tasks_own_types():
    handle = Handle(store="s", stage="finetune", fingerprint="0" * 32)
    found = _checked("evaluation", {"data": handle.model_dump(), "tuned": None, "method": "bids"})
    assert found == {"data": handle, "tuned": None, "method": "bids"}
    with pytest.raises(UserError, match="takes .*data.*, not wrong"):
        _checked("warmup", {"wrong": 1})
    with pytest.raises(UserError, match="arguments of warmup"):
        _checked("warmup", {"data": {"store": 1}})
