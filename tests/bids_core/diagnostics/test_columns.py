"""Shapes of columns against scipy, and the warning."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bids_core.diagnostics.columns import BIMODAL, column_histograms, column_shapes
from bids_core.influence.normalization import ColumnWarning


def matrix():
    rng = np.random.default_rng(0)
    n = 3000
    return np.column_stack(
        [
            rng.standard_normal(n),
            rng.exponential(size=n) ** 2,
            np.where(rng.random(n) < 0.5, -3, 3) + rng.standard_normal(n),
            rng.standard_t(3, n),
            np.full(n, 0.1),
        ]
    )


def test_shapes_are_scipys_and_doubts_are_named():
    values = matrix()
    with pytest.warns(ColumnWarning, match="doubtful for 3 of 5 columns"):
        frame = column_shapes(values, tasks=list("aabbb"))
    np.testing.assert_allclose(frame["skewness"][:4], stats.skew(values[:, :4]), rtol=1e-9)
    np.testing.assert_allclose(
        frame["excess_kurtosis"][:4], stats.kurtosis(values[:, :4]), rtol=1e-9
    )
    assert frame["doubtful"].tolist() == [
        "", "skewed, heavy-tailed", "bimodal", "heavy-tailed", "constant",
    ]  # fmt: skip
    assert frame["task"].tolist() == list("aabbb")
    assert frame["mean"][4] == 0.1
    assert frame["std"][4] == 0


def test_the_bimodality_coefficient_is_sarles():
    values = matrix()[:, :3]
    n = len(values)
    g1, g2 = stats.skew(values, bias=False), stats.kurtosis(values, bias=False)
    expected = (g1**2 + 1) / (g2 + 3 * (n - 1) ** 2 / ((n - 2) * (n - 3)))
    found = column_shapes(values, warn=False)["bimodality"]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert found[0] < BIMODAL < found[2]


def test_histograms_count_every_row_once():
    frame = column_histograms(matrix(), bins=20)
    counts = frame.groupby("column")[["count", "normal"]].sum()
    assert counts["count"].tolist() == [3000] * 4
    np.testing.assert_allclose(counts["normal"], 3000)
    normal = frame[frame["column"] == 0]
    assert (normal["count"] - normal["normal"]).abs().max() < 5 * np.sqrt(3000 * 0.2)
    z = stats.zscore(matrix()[:, 0])
    expected = np.histogram(np.clip(z, -5, 5), bins=np.linspace(-5, 5, 21))[0]
    assert normal["count"].tolist() == expected.tolist()
