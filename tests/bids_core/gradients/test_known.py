"""Rows taken over from earlier shards: the same bytes as if they were computed again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_core.errors import ArtifactError
from bids_core.gradients import open_store, write_shard
from bids_core.gradients.features import Features
from bids_core.gradients.known import Known, put_together


def features(row_ids, values, share=0.25):
    return Features(
        values=values, norms=values.norm(dim=1), losses=values.abs().mean(dim=1),
        row_ids=list(row_ids), nonfinite_row_ids=[], eps_dominated_share=share,
        n_tokens=10, seconds=1.0,
    )  # fmt: skip


@pytest.fixture
def values():
    return torch.randn(6, 512, generator=torch.Generator().manual_seed(0)) * 1e-3


@pytest.mark.parametrize("storage", ["float16", "float32", "int8"])
def test_taken_over_rows_are_those_that_were_stored(tmp_path, values, storage):
    write_shard(tmp_path / "old", features("abcd", values[:4]), storage=storage)
    write_shard(tmp_path / "all", features("xcay", values[[4, 2, 0, 5]]), storage=storage)
    known = [Known(tmp_path / "old", rows=(2, 0), places=(1, 2), eps_dominated_share=0.25)]
    computed = features("xy", values[[4, 5]], share=0.75)
    found = put_together(list("xcay"), known, computed)
    assert found.row_ids == list("xcay")
    assert found.eps_dominated_share == 0.5
    write_shard(tmp_path / "new", found, storage=storage)
    new, true = (open_store([tmp_path / name]) for name in ("new", "all"))
    one, other = (
        np.asarray(store.shards[0].group["projected_gradients"][:]) for store in (new, true)
    )
    if storage == "float32":
        np.testing.assert_allclose(one, other, rtol=1e-6)
    else:  # in int8 the scale is that of a row of length one, which rounding had made it miss
        assert np.array_equal(one, other)
    assert np.array_equal(new.norms, true.norms)
    assert np.array_equal(new.losses, true.losses)


def test_nothing_has_to_be_computed_where_all_is_known(tmp_path, values):
    write_shard(tmp_path / "old", features("abcd", values[:4]))
    known = [Known(tmp_path / "old", rows=(1,), places=(0,), eps_dominated_share=None)]
    found = put_together(["renamed"], known, None)
    assert found.row_ids == ["renamed"]
    assert found.eps_dominated_share is None
    assert found.seconds == 0.0


def test_rows_without_a_feature_are_left_out(tmp_path, values):
    write_shard(tmp_path / "old", features("ab", values[:2]))
    known = [Known(tmp_path / "old", rows=(0,), places=(2,), eps_dominated_share=0.0)]
    computed = features("x", values[[4]])
    assert put_together(["x", "lost", "a"], known, computed).row_ids == ["x", "a"]


def test_a_damaged_shard_is_an_error(tmp_path, values):
    known = [Known(tmp_path / "gone", rows=(0,), places=(0,), eps_dominated_share=None)]
    with pytest.raises(ArtifactError):
        put_together(["a"], known, None)
