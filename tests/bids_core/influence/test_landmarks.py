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


def literal(states, influence, ridge):
    """Kernel ridge regression as one writes it, for a given ridge."""
    center, mean = states.mean(0), influence.mean(0)
    units = [(s - center) / np.linalg.norm(s - center) for s in states]
    kernel = np.array([[a @ b for b in units] for a in units])
    inverse = np.linalg.inv(kernel + ridge * np.eye(len(states)))

    def predict(state):
        e = (state - center) / np.linalg.norm(state - center)
        k = np.array([e @ u for u in units])
        return mean + k @ inverse @ (influence - mean), e @ e - k @ inverse @ k + ridge

    return predict, kernel, inverse


def test_predictions_and_errors_are_those_of_the_literal_regression():
    states, influence = problem()
    fitted = fit_landmarks(states[:40], influence[:40])
    predict, _, _ = literal(states[:40], influence[:40], fitted.ridge)
    values, error = fitted.predict(states[40:])
    for row in range(80):
        expected, variance = predict(states[40 + row])
        assert np.allclose(values[row], expected)
        assert error[row] == pytest.approx((fitted.noise * variance) ** 0.5)


def test_each_landmark_left_out_is_predicted_by_the_others():
    states, influence = problem(n=20)
    fitted = fit_landmarks(states, influence)
    # the closed form keeps the mean and the centre of all, and leaves the row's equation out
    center, mean = states.mean(0), influence.mean(0)
    units = (states - center) / np.linalg.norm(states - center, axis=1, keepdims=True)
    for row in range(20):
        others = np.arange(20) != row
        kernel = units[others] @ units[others].T + fitted.ridge * np.eye(19)
        solved = np.linalg.solve(kernel, influence[others] - mean)
        assert np.allclose(fitted.left_out[row], mean + units[row] @ units[others].T @ solved)


def test_the_expected_error_is_the_error_on_rows_never_seen():
    states, influence = problem(n=2_000, width=30, noise=0.3)
    fitted = fit_landmarks(states[:200], influence[:200])
    values, error = fitted.predict(states[200:])
    off = (values - influence[200:]) / influence[:200].std(0)
    assert np.sqrt((off**2).mean()) == pytest.approx(np.sqrt((error**2).mean()), rel=0.1)
    share = 1 - ((values - influence[200:]) ** 2).mean(0) / influence[200:].var(0)
    assert np.allclose(fitted.explained, share, atol=0.15)


def test_far_rows_are_less_certain():
    rng = np.random.default_rng(0)
    near = rng.normal(size=(50, 20)) * ([1.0] * 5 + [0.01] * 15)
    fitted = fit_landmarks(near, near[:, :3])
    _, error = fitted.predict(np.stack([near[0], [0.0] * 10 + [5.0] * 10]))
    assert error[1] > 2 * error[0]


def test_nothing_to_learn_predicts_the_mean():
    rng = np.random.default_rng(1)
    states, influence = rng.normal(size=(400, 40)), rng.normal(size=(400, 3))
    fitted = fit_landmarks(states[:100], influence[:100])
    assert (fitted.explained < 0.1).all()
    values, _ = fitted.predict(states[100:])
    assert np.abs(values - influence[:100].mean(0)).max() < 0.5


def test_columns_and_states_that_do_not_vary():
    states, influence = problem(n=30)
    influence[:, 1] = 0.25
    states[3] = states[:, :].mean(0)
    fitted = fit_landmarks(states, influence)
    values, error = fitted.predict(states)
    assert np.allclose(values[:, 1], 0.25)
    assert np.isfinite(values).all()
    assert np.isfinite(error).all()
    same = fit_landmarks(np.ones((10, 4)), influence[:10])
    assert np.allclose(same.predict(np.zeros((2, 4)))[0], influence[:10].mean(0))


def test_what_cannot_be_fitted_is_refused():
    states, influence = problem(n=10)
    with pytest.raises(MatrixError, match="10 representations for 9 landmarks"):
        fit_landmarks(states, influence[:9])
    with pytest.raises(MatrixError, match="5 landmarks are too few"):
        fit_landmarks(states[:5], influence[:5])
    broken = states.copy()
    broken[4, 1] = np.nan
    with pytest.raises(MatrixError, match="row 4 .* not finite"):
        fit_landmarks(broken, influence)
    with pytest.raises(MatrixError, match=r"need \[rows, 10\] values"):
        fit_landmarks(states, influence).predict(np.ones((2, 3)))
