from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest

from tasks.gradients import Shard, _looking_in, plan_shards
from tasks.known_rows import holders, known_rows


def frame(tasks):
    return pd.DataFrame({"row_id": [f"r{i}" for i in range(len(tasks))], "task": tasks})


@pytest.mark.parametrize(("n", "rows"), [(1, 1), (7, 3), (9, 3), (5, 100)])
def test_train_shards_cover_every_row_once_in_order(n, rows):
    shards = plan_shards(frame([None] * n), split="train", checkpoint=2, rows=rows)
    covered = [row for shard in shards for row in range(shard.start, shard.stop)]
    assert covered == list(range(n))
    assert max(shard.stop - shard.start for shard in shards) <= rows
    assert {shard.checkpoint for shard in shards} == {2}


def cut(keys, cuts, *, rows=4):
    shards = plan_shards(
        frame([None] * len(keys)), split="train", checkpoint=1, rows=rows, keys=keys, cuts=cuts
    )
    return ["".join(keys[shard.start : shard.stop]) for shard in shards]


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ("abcdefghij", ["abcd", "efgh", "ij"]),
        ("Xabcdefghij", ["X", "abcd", "efgh", "ij"]),  # in front: nothing shifts
        ("abcdefghijXY", ["abcd", "efgh", "ij", "XY"]),  # half full is kept
        ("abXcdefghij", ["abXc", "d", "efgh", "ij"]),  # within: that one alone
        ("abcdXYZUVWefghij", ["abcd", "XYZU", "VW", "efgh", "ij"]),
        ("abdefghij", ["abd", "efgh", "ij"]),  # one has left
        ("efghabcdij", ["efgh", "abcd", "ij"]),  # in another order
        ("abcdabcdefgh", ["abcd", "abcd", "efgh"]),  # twice
        ("XYZ", ["XYZ"]),
    ],
)
def test_earlier_shards_stay_as_they_are_where_rows_join_or_leave(keys, parts):
    earlier = [tuple("abcd"), tuple("efgh"), tuple("ij")]
    found = cut(keys, earlier)
    assert found == parts
    assert "".join(found) == keys
    again = [tuple(part) for part in found]
    assert cut(keys, earlier + again) == found  # its own shards do not change the cut


def test_earlier_shards_that_are_too_large_or_nearly_empty_are_cut_anew():
    assert cut("abcdefgh", [tuple("abcdefgh")]) == ["abcd", "efgh"]
    assert cut("abcdefgh", [tuple("a"), tuple("bcd")]) == ["a", "bcd", "efgh"]
    assert cut("abcdefgh", [tuple("a"), tuple("b"), tuple("c")]) == ["abcd", "efgh"]


def test_a_shard_knows_which_earlier_ones_hold_its_rows_and_asks_for_no_others():
    """Each shard of a run that listed all others would make the run's work grow as its square."""
    held_by = holders({"one": "abc", "two": "cd", "three": "xyz"})
    shard = Shard(split="train", checkpoint=1, start=0, stop=3)
    planned = _looking_in(held_by, shard, "bcd")
    assert planned.earlier == ("one", "two")
    assert _looking_in(held_by, shard, "efg").earlier == ()
    store = SimpleNamespace()  # whatever is asked of it is an error
    assert known_rows(store, SimpleNamespace(), ["a", "b"], earlier=(), features="f") == []


def test_validation_shards_never_straddle_tasks():
    shards = plan_shards(frame(["a"] * 5 + ["b"] * 2), split="validation", checkpoint=1, rows=3)
    assert [(shard.start, shard.stop) for shard in shards] == [(0, 3), (3, 5), (5, 7)]
