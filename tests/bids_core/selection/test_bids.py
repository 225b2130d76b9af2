"""The fast BIDS loop against the literal one."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_core.errors import MatrixError
from bids_core.influence.matrix import as_matrix
from bids_core.influence.normalization import ColumnWarning, normalize
from bids_core.selection import best_rows, select


def kinds_of_matrix(kind, n_rows, n_columns, seed):
    """Return a matrix that is hard in its own way."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal((n_rows, n_columns))
    if kind == "tied":
        return rng.integers(0, 3, (n_rows, n_columns)).astype(float)
    if kind == "binary":
        return (normal > 1).astype(np.float32)
    if kind == "duplicated rows":
        return normal[rng.integers(0, max(1, n_rows // 3), n_rows)]
    if kind == "duplicated columns":
        return normal[:, rng.integers(0, max(1, n_columns // 3), n_columns)]
    if kind == "permuted columns":
        return np.stack([rng.permutation(normal[:, 0]) for _ in range(n_columns)], axis=1)
    if kind == "constant columns":
        normal[:, rng.random(n_columns) < 0.4] = 0.1
        return normal
    if kind == "heavy tails":
        return rng.standard_t(0.5, (n_rows, n_columns))
    if kind == "far from zero":  # rounding makes neighbours tie
        return (1e15 + rng.integers(0, 40, (n_rows, n_columns))) * 0.1
    if kind == "tiny beside large":  # differences vanish when a mean is subtracted
        normal *= 1e-17
        for column in range(n_columns):
            low, high = rng.permutation(max(2, n_rows))[:2] % n_rows
            normal[low, column], normal[high, column] = -1, 1
        return normal
    if kind == "one direction":
        return np.outer(rng.standard_normal(n_rows), np.ones(n_columns))
    if kind == "opposed":
        return np.outer(rng.standard_normal(n_rows), np.where(np.arange(n_columns) % 2, 1, -1))
    if kind == "float32":
        return normal.astype(np.float32)
    if kind == "float16":
        return normal.astype(np.float16)
    if kind == "integers":
        return rng.integers(-1000, 1000, (n_rows, n_columns))
    return normal


KINDS = (
    "random", "tied", "binary", "duplicated rows", "duplicated columns", "permuted columns",
    "constant columns", "heavy tails", "far from zero", "tiny beside large", "one direction",
    "opposed", "float32", "float16", "integers",
)  # fmt: skip

matrices = st.builds(
    kinds_of_matrix,
    st.sampled_from(KINDS),
    st.integers(1, 40),
    st.integers(2, 12),
    st.integers(0, 2**32 - 1),
)


def usable_columns(matrix):
    return np.flatnonzero((matrix != matrix[0]).any(axis=0))


def check_against_loop(oracles, matrix, budget):
    usable = usable_columns(matrix)
    if not len(usable):
        with pytest.raises(MatrixError, match="no column"):
            select(matrix, budget)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ColumnWarning)
        found = select(matrix, budget)
    z = oracles.zscore(matrix[:, usable])
    rows, utilities, columns = oracles.literal_bids(z, budget)
    assert found.indices.tolist() == rows
    assert found.utilities.tolist() == utilities
    assert found.winning_columns.tolist() == usable[columns].tolist()


@settings(max_examples=400, deadline=None)
@given(matrices, st.data())
def test_equals_the_literal_loop(oracles, matrix, data):
    check_against_loop(oracles, matrix, data.draw(st.integers(1, len(matrix)), label="budget"))


@settings(max_examples=200, deadline=None)
@given(matrices, st.integers(0, 2**32 - 1))
def test_equals_the_literal_loop_whatever_the_length_of_the_lists(oracles, matrix, seed):
    """Short lists and a poor sample force extensions at every turn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(best_rows, "_SHORTEST", 1)
        patch.setattr(best_rows, "_GROWTH", 2)
        patch.setattr(best_rows, "_SAMPLE_ROWS", 5)
        patch.setattr("bids_core.selection.bids._LOOKAHEAD", 0)
        patch.setattr("bids_core.influence.matrix._BLOCK_BYTES", 300)
        check_against_loop(oracles, matrix, len(matrix))


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_literal_loop_on_a_larger_matrix(oracles, kind):
    check_against_loop(oracles, kinds_of_matrix(kind, 700, 23, seed=7), 150)


@settings(max_examples=100, deadline=None)
@given(matrices, st.data())
def test_without_normalization_equals_the_loop_on_raw_values(oracles, matrix, data):
    budget = data.draw(st.integers(1, len(matrix)))
    found = select(matrix, budget, normalization="none")
    rows, utilities, columns = oracles.literal_bids(matrix.astype(np.float64), budget)
    assert found.indices.tolist() == rows
    assert found.utilities.tolist() == utilities
    assert found.winning_columns.tolist() == columns


@pytest.mark.parametrize("normalization", ["zscore", "minmax", "robust", "rank"])
def test_every_normalization_equals_the_loop_on_the_normalized_matrix(oracles, normalization):
    matrix = np.random.default_rng(3).standard_normal((120, 9)) ** 3
    found = select(matrix, 60, normalization=normalization)
    rows, utilities, _ = oracles.literal_bids(normalize(matrix, normalization), 60)
    assert found.indices.tolist() == rows
    assert found.utilities.tolist() == utilities


@settings(max_examples=60, deadline=None)
@given(matrices, st.data())
def test_a_budget_is_a_prefix_of_every_larger_one(matrix, data):
    if not len(usable_columns(matrix)):
        return
    small = data.draw(st.integers(1, len(matrix)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ColumnWarning)
        whole = select(matrix, len(matrix))
        part = select(matrix, small)
    assert part.indices.tolist() == whole.indices[:small].tolist()
    assert sorted(whole.indices.tolist()) == list(range(len(matrix)))


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 40), st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_permuting_the_rows_permutes_the_picks(n_rows, n_columns, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((n_rows, n_columns))
    order = rng.permutation(n_rows)
    assert order[select(matrix[order], n_rows).indices].tolist() == (
        select(matrix, n_rows).indices.tolist()
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 40), st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_a_positive_affine_map_of_a_column_changes_nothing(n_rows, n_columns, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((n_rows, n_columns))
    changed = matrix * rng.uniform(0.1, 10, n_columns) + rng.uniform(-5, 5, n_columns)
    assert select(changed, n_rows).indices.tolist() == select(matrix, n_rows).indices.tolist()


@settings(max_examples=60, deadline=None)
@given(matrices, st.data())
def test_a_power_of_two_scale_changes_nothing_even_in_ties(matrix, data):
    if not len(usable_columns(matrix)) or matrix.dtype != np.float64:
        return
    powers = data.draw(st.lists(st.integers(-8, 8), min_size=matrix.shape[1],
                                max_size=matrix.shape[1]))  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ColumnWarning)
        found = select(matrix * 2.0 ** np.array(powers), len(matrix))
        assert found.indices.tolist() == select(matrix, len(matrix)).indices.tolist()


def test_a_single_column_is_taken_from_the_top():
    values = np.array([[0.1], [0.7], [0.7], [-2.0], [0.3]])
    assert select(values, 5).indices.tolist() == [1, 2, 4, 0, 3]


def test_numpy_torch_zarr_and_fortran_order_agree(tmp_path):
    import torch
    import zarr

    matrix = np.random.default_rng(0).standard_normal((300, 7)).astype(np.float32)
    expected = select(matrix, 0.5).indices.tolist()
    stored = zarr.create_array(tmp_path / "a.zarr", data=matrix, chunks=(64, 7))
    assert select(torch.from_numpy(matrix), 0.5).indices.tolist() == expected
    assert select(stored, 0.5).indices.tolist() == expected
    assert select(np.asfortranarray(matrix), 0.5).indices.tolist() == expected
    on_disk = as_matrix(stored, resident_bytes=0)
    assert not on_disk.resident
    assert select(on_disk, 0.5).indices.tolist() == expected


@pytest.mark.parametrize("cached_rows", [1, 10, 10_000])
def test_a_matrix_on_disk_gives_the_same_whatever_the_memory(tmp_path, monkeypatch, cached_rows):
    import zarr

    matrix = np.random.default_rng(0).standard_normal((400, 5)).astype(np.float32)
    on_disk = as_matrix(
        zarr.create_array(tmp_path / "a.zarr", data=matrix, chunks=(32, 5)), resident_bytes=0
    )
    monkeypatch.setattr("bids_core.selection.row_reader.CACHE_BYTES", cached_rows * 20)
    monkeypatch.setattr(best_rows, "_SAMPLE_ROWS", 50)
    monkeypatch.setattr(best_rows, "_SAMPLE_CHUNKS", 3)
    found, expected = select(on_disk, 150), select(matrix, 150)
    assert found.indices.tolist() == expected.indices.tolist()
    assert found.utilities.tolist() == expected.utilities.tolist()


def test_columns_without_spread_are_named_and_left_out():
    matrix = np.random.default_rng(0).standard_normal((20, 3))
    matrix[:, 1] = 0.1
    with pytest.warns(ColumnWarning, match=r"column 1 \('gsm8k:4'\)"):
        found = select(matrix, 10, validation_ids=["a", "gsm8k:4", "b"])
    assert 1 not in found.winning_columns
    assert found.left_out == (1,)
    assert found.indices.tolist() == select(matrix[:, [0, 2]], 10).indices.tolist()


def test_progress_is_told():
    told = []
    select(np.eye(4), 3, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (3, 3)
