from __future__ import annotations

import numpy as np
import pytest

from bids_core.errors import MatrixError
from bids_core.influence.landmarks import fit_landmarks


def problem(n=120, width=10, columns=5, noise=0.1, seed=0):
    """Influence that is linear in the directions of the representations, and noise."""
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(n, width)) + 3
    centred = states - states.mean(0)
    directions = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    influence = directions @ rng.normal(size=(width, columns)) + 0.5
    return states, influence + noise * rng.normal(size=(n, columns))


def test_each_row_takes_the_influence_of_the_landmark_at_the_smallest_angle():
    states, influence = problem()
    fitted = fit_landmarks(states[:40], influence[:40])
    values, _ = fitted.predict(states[40:])
    center = states[:40].mean(0)
    for row in range(80):
        shifted = states[40 + row] - center
        cosines = [
            shifted @ (s - center) / np.linalg.norm(shifted) / np.linalg.norm(s - center)
            for s in states[:40]
        ]
        assert np.array_equal(values[row], influence[int(np.argmax(cosines))])


def test_a_row_says_which_landmark_its_influence_is_from():
    states, influence = problem(60)
    fitted = fit_landmarks(states[:40], influence[:40])
    nearest, error = fitted.nearest(states[40:])
    values, expected = fitted.predict(states[40:])
    np.testing.assert_array_equal(fitted.influence[nearest], values)
    np.testing.assert_array_equal(error, expected)


def test_landmarks_keep_their_own_influence_exactly():
    states, influence = problem(n=30)
    values, _ = fit_landmarks(states, influence).predict(states)
    assert np.array_equal(values, influence)


def test_the_expected_error_is_the_error_on_rows_never_seen():
    states, influence = problem(n=3_000, width=6, noise=0.3)
    fitted = fit_landmarks(states[:300], influence[:300])
    values, error = fitted.predict(states[300:])
    off = ((values - influence[300:]) / influence[:300].std(0)) ** 2
    assert np.sqrt(off.mean()) == pytest.approx(np.sqrt((error**2).mean()), rel=0.1)
    far = error > np.median(error)
    assert off[far].mean() > off[~far].mean()  # rows far from all landmarks are less certain
    agreement = [np.corrcoef(v, i)[0, 1] for v, i in zip(values.T, influence[300:].T, strict=True)]
    assert np.allclose(fitted.agreement, agreement, atol=0.15)


def test_nothing_to_learn_is_said():
    rng = np.random.default_rng(1)
    states, influence = rng.normal(size=(400, 40)), rng.normal(size=(400, 3))
    fitted = fit_landmarks(states[:200], influence[:200])
    assert np.abs(fitted.agreement).max() < 0.25
    _, error = fitted.predict(states[200:])
    assert error.mean() == pytest.approx(2**0.5, rel=0.1)  # one draw in place of another


def test_columns_and_states_that_do_not_vary():
    states, influence = problem(n=30)
    influence[:, 1] = 0.25
    states[3] = states.mean(0)
    fitted = fit_landmarks(states, influence)
    assert np.isnan(fitted.agreement[1])
    values, error = fitted.predict(states)
    assert (values[:, 1] == 0.25).all()
    assert np.isfinite(error).all()
    same = fit_landmarks(np.ones((10, 4)), influence[:10])
    assert np.isfinite(same.predict(np.zeros((2, 4)))[1]).all()


def test_what_cannot_be_inferred_from_is_refused():
    states, influence = problem(n=10)
    with pytest.raises(MatrixError, match="10 representations for 9 landmarks"):
        fit_landmarks(states, influence[:9])
    with pytest.raises(MatrixError, match="5 landmarks are too few"):
        fit_landmarks(states[:5], influence[:5])
    broken = states.copy()
    broken[4, 1] = np.nan
    with pytest.raises(MatrixError, match="nan in row 4, column 1: every entry must be finite"):
        fit_landmarks(broken, influence)
    with pytest.raises(MatrixError, match="width 3 for landmarks of width 10"):
        fit_landmarks(states, influence).predict(np.ones((2, 3)))
