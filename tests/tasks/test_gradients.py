from __future__ import annotations

import pandas as pd
import pytest

from tasks.gradients import plan_shards


def frame(tasks):
    return pd.DataFrame({"row_id": [f"r{i}" for i in range(len(tasks))], "task": tasks})


@pytest.mark.parametrize(("n", "rows"), [(1, 1), (7, 3), (9, 3), (5, 100)])
def test_train_shards_cover_every_row_once_in_order(n, rows):
    shards = plan_shards(frame([None] * n), split="train", checkpoint=2, rows=rows)
    covered = [row for shard in shards for row in range(shard.start, shard.stop)]
    assert covered == list(range(n))
    assert max(shard.stop - shard.start for shard in shards) <= rows
    assert {shard.checkpoint for shard in shards} == {2}


def test_validation_shards_never_straddle_tasks():
    shards = plan_shards(frame(["a"] * 5 + ["b"] * 2), split="validation", checkpoint=1, rows=3)
    assert [(shard.start, shard.stop) for shard in shards] == [(0, 3), (3, 5), (5, 7)]
