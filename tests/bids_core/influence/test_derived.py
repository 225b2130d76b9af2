"""Rows of a matrix as a matrix of their own."""

from __future__ import annotations

import numpy as np
import zarr

from bids_core.influence.derived import write_excerpt
from bids_core.influence.stored import open_attribution


def test_an_excerpt_opens_like_a_matrix_and_holds_the_same_numbers(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, 3)).astype(np.float32)
    group = zarr.open_group(tmp_path / "whole.zarr", mode="w-", zarr_format=3)
    group.attrs.update({"checkpoint_weights": [0.25, 0.75], "checkpoint_numbers": [1, 3]})
    names = {"row_ids": list("abcdef"), "validation_ids": ["x", "y", "z"], "tasks": ["t"] * 3,
             "capabilities": ["c"] * 3, "subtasks": ["", "s", ""]}  # fmt: skip
    for name, texts in names.items():
        group.create_array(name, data=np.array(texts, dtype=np.dtypes.StringDType()))
    group.create_array("attribution", data=values)
    whole = open_attribution(tmp_path / "whole.zarr")
    kept = write_excerpt(tmp_path / "part.zarr", whole, ["f", "b", "rejected"], pool_rows=9)
    part = open_attribution(tmp_path / "part.zarr")
    assert kept == part.row_ids == ["b", "f"]
    assert np.array_equal(part.values(), values[[1, 5]])
    assert (part.pool_rows, part.checkpoint_numbers) == (9, (1, 3))
    assert part.checkpoint_weights == [0.25, 0.75]
    for name in ("validation_ids", "tasks", "capabilities", "subtasks"):
        assert getattr(part, name) == getattr(whole, name)
