"""Each normalisation against its formula, and its degenerate cases."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bids_core.errors import MatrixError
from bids_core.influence.matrix import as_matrix
from bids_core.influence.normalization import ColumnWarning, normalize, sum_columns


def matrix():
    return np.random.default_rng(0).standard_normal((301, 19)) ** 3 + 2.0


def test_zscore_is_numpys_to_the_last_bit():
    values = matrix()
    expected = (values - values.mean(axis=0)) / values.std(axis=0)
    np.testing.assert_array_equal(normalize(values), expected)
    single = values.astype(np.float32)
    double = single.astype(np.float64)
    expected = (double - double.mean(axis=0)) / double.std(axis=0)
    np.testing.assert_array_equal(normalize(single), expected)


def test_minmax_runs_from_zero_to_one():
    values = matrix()
    expected = (values - values.min(axis=0)) / (values.max(axis=0) - values.min(axis=0))
    np.testing.assert_array_equal(normalize(values, "minmax"), expected)


def test_robust_is_median_and_mad():
    values = matrix()
    expected = (values - np.median(values, axis=0)) / stats.median_abs_deviation(
        values, axis=0, scale=1 / 1.4826
    )
    np.testing.assert_allclose(normalize(values, "robust"), expected, rtol=1e-12)


def test_rank_gives_normal_scores_and_ties_share_theirs():
    found = normalize(np.array([[3.0], [1.0], [2.0], [2.0]]), "rank")[:, 0]
    expected = stats.norm.ppf((np.array([4, 1, 2.5, 2.5]) - 0.5) / 4)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_none_changes_nothing():
    np.testing.assert_array_equal(normalize(matrix(), "none"), matrix())


@pytest.mark.parametrize("method", ["zscore", "minmax", "robust", "rank"])
def test_a_constant_column_is_nan_with_a_warning(method):
    values = np.column_stack([np.full(30, 0.1), np.arange(30.0), np.full(30, 1e-300)])
    named = as_matrix(values, validation_ids=["first", "second", "third"])
    with pytest.warns(ColumnWarning, match=r"column 0 \('first'\), column 2 \('third'\)"):
        found = normalize(named, method)
    assert np.isnan(found[:, [0, 2]]).all()
    assert np.isfinite(found[:, 1]).all()


def test_robust_leaves_out_a_column_that_is_mostly_one_value():
    values = np.column_stack([np.r_[np.zeros(20), np.arange(10)], np.arange(30.0)])
    with pytest.warns(ColumnWarning, match="median absolute deviation"):
        assert np.isnan(normalize(values, "robust")[:, 0]).all()


def test_nothing_to_normalise_is_an_error():
    with pytest.raises(MatrixError, match="no column has any variance"):
        normalize(np.ones((4, 2)))
    with pytest.raises(MatrixError, match="unknown normalization"):
        normalize(matrix(), "softmax")


def test_a_matrix_on_disk_is_normalised_alike(tmp_path):
    import zarr

    values = matrix().astype(np.float32)
    stored = zarr.create_array(tmp_path / "a.zarr", data=values, chunks=(50, 19))
    on_disk = as_matrix(stored, resident_bytes=0)
    for method in ("zscore", "minmax", "robust", "rank", "none"):
        np.testing.assert_array_equal(normalize(on_disk, method), normalize(values, method))


def test_sums_do_not_depend_on_the_blocks(monkeypatch):
    values = as_matrix(matrix())
    whole = sum_columns(values, lambda block, out: np.copyto(out, block))
    monkeypatch.setattr("bids_core.influence.matrix._BLOCK_BYTES", 1000)
    parts = sum_columns(values, lambda block, out: np.copyto(out, block))
    np.testing.assert_array_equal(whole, parts)
