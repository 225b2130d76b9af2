"""Rows of a matrix as a matrix of their own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import zarr

from bids_core.errors import ArtifactError
from bids_core.influence.derived import write_excerpt, write_inferred
from bids_core.influence.landmarks import fit_landmarks
from bids_core.influence.stored import LANDMARK, open_attribution


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


def inferred(tmp_path):
    """Write a matrix of 40 rows, inferred from 12 of them; returns it and the landmarks' rows."""
    rng = np.random.default_rng(0)
    states = rng.normal(size=(40, 6))
    values = rng.normal(size=(12, 3)).astype(np.float32)
    rows = np.sort(rng.choice(40, size=12, replace=False))
    names = [f"r{row}" for row in range(40)]
    known = SimpleNamespace(
        row_ids=[names[row] for row in rows], values=lambda: values, tasks=["t"] * 3,
        validation_ids=["x", "y", "z"], capabilities=["c"] * 3, subtasks=[""] * 3,
        checkpoint_weights=[1.0], checkpoint_numbers=(1,),
    )  # fmt: skip
    store = SimpleNamespace(
        row_ids=names, n_rows=40, dim=6, rows=lambda start, stop: states[start:stop]
    )
    write_inferred(tmp_path / "pool.zarr", known, fit_landmarks(states[rows], values), store)
    return open_attribution(tmp_path / "pool.zarr"), rows


def test_an_inferred_matrix_says_of_each_row_whose_influence_it_took(tmp_path):
    matrix, rows = inferred(tmp_path)
    assert matrix.landmark is not None
    assert set(matrix.landmark) <= set(rows)
    assert np.array_equal(matrix.landmark[rows], rows)
    assert np.array_equal(matrix.values(), matrix.values()[matrix.landmark])
    assert np.array_equal(matrix.expected_error == 0, np.isin(np.arange(40), rows))


def test_a_lost_chunk_of_landmarks_is_damage(tmp_path):
    inferred(tmp_path)
    for chunk in (tmp_path / "pool.zarr" / LANDMARK / "c").rglob("*"):
        chunk.unlink()
    with pytest.raises(ArtifactError, match="landmark names a row beyond the matrix"):
        open_attribution(tmp_path / "pool.zarr")
