from __future__ import annotations

import numpy as np
import pytest

from bids_core.diagnostics.screening import Inferred, Screened


def screened(**more):
    facts = {"by": "BM25", "pool_rows": 1_000, "kept": 300, "sampled": 100, "picks": 100}
    return Screened.of(**(facts | more))


def test_what_was_missed_is_scaled_up_from_the_sample():
    found = screened(sampled_picked=2)  # of 600 rows left out, about 2% would have been picked
    assert found.missed == pytest.approx(12)
    assert found.low == pytest.approx(600 * 0.0055, rel=0.02)  # Wilson's interval of 2 of 100
    assert found.high == pytest.approx(600 * 0.0700, rel=0.02)
    assert "about 12 of the 100 picks (95%: 3 to 42) would be different" in found.words


def test_no_more_than_all_picks_and_no_less_than_none():
    assert screened(sampled_picked=90).missed == 100
    none = screened(sampled_picked=0)
    assert none.missed == 0
    assert none.high == pytest.approx(600 * 0.037, rel=0.02)


def test_without_a_sample_nothing_is_claimed():
    found = screened(sampled=0, sampled_picked=0)
    assert (found.low, found.high) == (0, 100)
    assert "would be different" not in found.words


def test_nothing_left_out_is_nothing_missed():
    assert screened(kept=900, sampled_picked=5).high == 0


def test_what_rests_on_inferred_influence_is_counted():
    error = np.array([0.0, 0.5, 0.7, 0.9, 0.0], dtype=np.float32)
    picked = np.array([True, True, False, True, False])
    found = Inferred.of(error, picked, agreement=0.25)
    assert (found.rows, found.landmarks, found.picks, found.picks_inferred) == (5, 2, 3, 2)
    assert found.expected_error == pytest.approx(0.7)
    assert "2 of the 3 picks rest on such influence" in found.words
    assert "a correlation of 0.25" in found.words
    assert "correlation" not in Inferred.of(error, picked, agreement=None).words


def test_where_all_rows_are_landmarks_nothing_is_inferred():
    found = Inferred.of(np.zeros(3, dtype=np.float32), np.ones(3, dtype=bool), agreement=0.5)
    assert found.words == "All rows are landmarks: nothing is inferred."
