"""BIDS with harm taken off, against the literal loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_core.influence.normalization import ColumnWarning, normalize
from bids_core.selection import select
from bids_core.selection.cautious import HARM_WEIGHT, MEAN_WEIGHT


def draw(kind, seed):
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(2, 40)), int(rng.integers(2, 12)))
    if kind == "tied":
        values = rng.integers(-2, 3, shape).astype(np.float32)
        values[0], values[-1] = 3, -3  # no column is constant
        return values
    if kind == "heavy tails":
        return rng.standard_t(0.7, shape)
    if kind == "duplicated rows":
        return rng.standard_normal(shape)[rng.integers(0, max(2, shape[0] // 3), shape[0])] + 0.0
    if kind == "opposed":
        return np.outer(rng.standard_normal(shape[0]), np.where(np.arange(shape[1]) % 2, 1, -1))
    return rng.standard_normal(shape)


kinds = st.sampled_from(["normal", "tied", "heavy tails", "duplicated rows", "opposed"])
seeds = st.integers(0, 2**32 - 1)


def usable(values):
    return bool((values != values[0]).any(axis=0).all())


@settings(max_examples=200, deadline=None)
@given(kinds, seeds, st.data())
def test_equals_the_literal_loop_on_lowered_values(oracles, kind, seed, data):
    values = draw(kind, seed)
    if not usable(values):
        return
    budget = data.draw(st.integers(1, len(values)))
    found = select(values, budget, method="bids_cautious")
    lowered = oracles.lowered_by_harm(oracles.zscore(values), HARM_WEIGHT)
    rows, utilities, columns = oracles.literal_bids(lowered, budget, MEAN_WEIGHT)
    assert found.indices.tolist() == rows
    assert found.utilities.tolist() == utilities
    assert found.winning_columns.tolist() == columns


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["normal", "heavy tails"]), seeds)
def test_follows_its_equation(oracles, kind, seed):
    """The mean of harm over the picks is the same for all candidates, and decides nothing."""
    values = draw(kind, seed)
    found = select(values, len(values), method="bids_cautious")
    z = oracles.zscore(values)
    expected = oracles.bids_cautious(z, len(values), HARM_WEIGHT, MEAN_WEIGHT)
    assert found.indices.tolist() == expected


def test_a_row_that_helps_one_instance_and_harms_the_others_waits():
    """Row 0 is best for column 0 by a little; it is the worst one for columns 1 to 3."""
    values = np.array([
        [1.1, -1.0, -1.0, -1.0],
        [1.0, 0.2, 0.2, 0.2],
        [-0.6, 0.4, 0.2, 0.3],
        [-0.8, 0.3, 0.4, 0.2],
        [-0.7, 0.1, 0.2, 0.3],
    ])  # fmt: skip
    assert select(values, 5, method="bids", normalization="none").indices[0] == 0
    found = select(values, 5, method="bids_cautious", normalization="none")
    # Harm: 3/4 for row 0, nothing for row 1, 0.15, 0.2 and 0.175 for the others.
    assert found.indices[0] == 1
    assert found.utilities[0] == 1.0
    assert found.indices[-1] == 0


def test_without_harm_it_is_bids_with_a_weighted_mean(oracles):
    values = np.random.default_rng(0).standard_normal((60, 7))
    z = normalize(values, "minmax")
    assert z.min() == 0
    found = select(values, 40, method="bids_cautious", normalization="minmax")
    assert found.indices.tolist() == oracles.literal_bids(z, 40, MEAN_WEIGHT)[0]
    assert found.indices.tolist() != oracles.literal_bids(z, 40)[0]


def test_columns_without_spread_cause_no_harm():
    values = np.random.default_rng(1).standard_normal((30, 4))
    values[:, 2] = -5.0
    with pytest.warns(ColumnWarning, match="column 2"):
        found = select(values, 20, method="bids_cautious")
    assert found.left_out == (2,)
    expected = select(values[:, [0, 1, 3]], 20, method="bids_cautious")
    assert found.indices.tolist() == expected.indices.tolist()
    assert found.utilities.tolist() == expected.utilities.tolist()
