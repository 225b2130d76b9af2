"""Rank correlations against scipy's, draws against a literal loop."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from bids_core.diagnostics.rank_correlation import (
    Estimate,
    mean_known,
    resampled_spearman,
    resamples,
    spearman,
)


@pytest.mark.parametrize("ties", [False, True])
def test_spearman_is_scipys(ties):
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 30, 7))
    if ties:
        one, other = np.round(one), np.round(2 * other)
    expected = [spearmanr(one[:, j], other[:, j]).statistic for j in range(7)]
    np.testing.assert_allclose(spearman(one, other), expected, atol=1e-12)


def test_a_column_that_does_not_vary_has_no_correlation():
    one = np.column_stack([np.arange(5.0), np.ones(5)])
    found = spearman(one, np.arange(10.0).reshape(5, 2))
    assert found[0] == pytest.approx(1)
    assert np.isnan(found[1])
    assert mean_known(found) == pytest.approx(1)
    assert np.isnan(mean_known(np.array([np.nan])))


def test_draws_are_shared_and_those_of_a_literal_loop():
    rng = np.random.default_rng(1)
    outcome = rng.standard_normal((12, 3))
    predictions = {"a": rng.standard_normal((12, 3)), "b": outcome}
    found = resampled_spearman(predictions, outcome, draws=20, seed=4)
    for draw, rows in enumerate(resamples(12, draws=20, seed=4)):
        expected = [spearmanr(predictions["a"][rows, j], outcome[rows, j])[0] for j in range(3)]
        np.testing.assert_allclose(found["a"][draw], expected, atol=1e-12)
    np.testing.assert_allclose(found["b"], 1)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Normal pairs with correlation 0.5: Spearman's is 6/pi asin(0.25)."""
    rng, truth, hits = np.random.default_rng(2), 6 / np.pi * np.arcsin(0.25), 0
    for trial in range(100):
        x = rng.standard_normal((60, 1))
        y = 0.5 * x + np.sqrt(0.75) * rng.standard_normal((60, 1))
        drawn = resampled_spearman({"x": x}, y, draws=200, seed=trial)["x"][:, 0]
        found = Estimate.of(0.0, drawn)
        hits += found.low <= truth <= found.high
    assert 85 <= hits <= 100


def test_an_estimate_without_draws_has_no_interval():
    found = Estimate.of(0.5, [np.nan, np.nan])
    assert found.to_dict() == {"value": 0.5, "low": None, "high": None}
    assert not found.positive
