"""How many rows or seeds tell a difference: by hand, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from bids_core.comparison import needed, paired_interval
from bids_core.comparison.needed import variance
from bids_core.comparison.statistics import Z95


def test_one_task_and_one_seed_by_hand():
    """Differences 1, 1, 1, -1: mean 1/2, variance 1, so n = (1.96 / 0.5)^2 = 15.4."""
    found = needed({"a": np.array([[1.0, 1.0, 1.0, -1.0]])})
    assert found.rows == 16
    assert found.seeds is None
    stricter = needed({"a": np.array([[1.0, 1.0, 1.0, -1.0]])}, level=0.025)
    assert stricter.rows == 21  # (2.2414 / 0.5)^2 = 20.1


def test_two_tasks_keep_their_proportions():
    """Variance of the mean of two tasks is (v_a / n_a + v_b / n_b) / 4, at all n alike."""
    a, b = np.array([[1.0, 1.0, 1.0, -1.0]]), np.array([[2.0, 0.0]])
    spread = (1 / 4 + 2 / 2) / 4
    assert variance({"a": a, "b": b}).row == pytest.approx(spread)
    assert needed({"a": a, "b": b}).rows == np.ceil(6 * spread * (Z95 / 0.75) ** 2)


def test_where_there_is_nothing_to_tell_or_to_estimate_there_is_no_number():
    assert needed({"a": np.array([[1.0, -1.0]])}) is None
    assert needed({"a": np.array([[1.0]])}) is None
    seeds_alone = needed({"a": np.array([[1.0, 1.1], [-0.7, -0.8]])})
    assert seeds_alone.rows is None  # the seeds vary too much for any number of rows
    assert seeds_alone.seeds > 2


def test_the_parts_of_the_variance_are_those_of_the_model():
    """Seeds N(0, 0.3), rows N(0, 1), answers N(0, 0.5), on average over many tables."""
    generator = np.random.default_rng(0)
    S, n = 4, 30
    found = [
        variance(
            {
                "a": generator.normal(0, 0.3, (S, 1)) + generator.normal(0, 1, (1, n))
                + generator.normal(0, 0.5, (S, n))
            }
        )
        for _ in range(3000)
    ]  # fmt: skip
    both = 0.25 / (S * n)
    assert np.mean([v.both for v in found]) == pytest.approx(both, rel=0.03)
    assert np.mean([v.row for v in found]) == pytest.approx(1 / n + both, rel=0.03)
    assert np.mean([v.seed for v in found]) == pytest.approx(0.09 / S, rel=0.08)


@pytest.mark.parametrize(("times", "told"), [(1, 0.5), (2, 0.79)])
def test_so_many_rows_tell_it_every_second_time(times, told):
    """Right or wrong answers that differ by 10 points: the interval leaves out zero so often."""
    generator = np.random.default_rng(1)
    truth = np.array([1.0] * 30 + [-1.0] * 10 + [0.0] * 60)
    rows = times * needed({"a": truth[None] - 0.1}).rows  # the same spread, half the difference
    found = [
        paired_interval({"a": generator.choice(truth - 0.1, (1, rows))}, draws=300, seed=seed)
        for seed in range(400)
    ]
    assert np.mean([one.low > 0 for one in found]) == pytest.approx(told, abs=0.075)


def test_so_many_seeds_tell_it_every_second_time():
    generator = np.random.default_rng(2)

    def table(S):
        return generator.normal(0.2, 0.3, (S, 1)) + generator.normal(0, 0.5, (1, 60))

    values = table(3)
    values += 0.2 - values.mean()
    wanted = needed({"a": values}).seeds
    spread = variance({"a": values})
    # at the estimate the standard error is what the level asks for, if its parts are the true ones
    error = np.sqrt(spread.seed * 3 / wanted + spread.row)
    assert 0.2 / error == pytest.approx(Z95, rel=0.1)
