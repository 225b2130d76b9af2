"""The linear datamodelling score on training runs whose outcome is known."""

import numpy as np
import pytest
from scipy.stats import linregress, spearmanr

from bids_core.diagnostics.datamodel import Outcomes, fit_datamodel, needed_to_show, recall_at
from bids_core.diagnostics.datamodel_words import datamodel_words
from bids_core.errors import MatrixError

TASKS = ["sums"] * 3 + ["quiz"] * 2


def additive(n_subsets=24, *, noise=0.0, seed=0):
    """A world in which losses fall by the sum of each row's effect, plus noise."""
    rng = np.random.default_rng(seed)
    effect = rng.standard_normal((200, 5))
    members = np.stack([rng.permutation(200)[:50] for _ in range(n_subsets)])
    sums = effect[members].sum(axis=1)
    losses = 3 - 0.01 * sums + noise * rng.standard_normal(sums.shape)
    best = np.sort(effect.mean(axis=1))[-50:]
    return Outcomes(sums, losses, TASKS, np.full(5, best.sum()))


def test_an_additive_world_is_explained_whole():
    outcomes = additive()
    found = fit_datamodel(outcomes, draws=100)
    assert found.lds.value == pytest.approx(1)
    assert found.recall.value == pytest.approx(1)
    truth = 0.01 * (outcomes.method_H[0] - _task_mean(outcomes.predicted_SH).mean())
    assert found.gain.value == pytest.approx(truth)
    assert found.run_deviation == pytest.approx(0, abs=1e-9)


def _task_mean(values):
    return (values[:, :3].mean(axis=1) + values[:, 3:].mean(axis=1)) / 2


def test_numbers_are_those_of_scipy_and_of_a_literal_loop():
    outcomes = additive(noise=0.05)
    found = fit_datamodel(outcomes, draws=100)
    rho = [
        spearmanr(outcomes.predicted_SH[:, h], -outcomes.losses_SH[:, h]).statistic
        for h in range(5)
    ]
    assert found.lds.value == pytest.approx(np.mean(rho))
    assert found.lds_by_task["quiz"].value == pytest.approx(np.mean(rho[3:]))
    p, y = _task_mean(outcomes.predicted_SH), -_task_mean(outcomes.losses_SH)
    line = linregress(p, y)
    assert found.gain.value == pytest.approx(line.slope * (outcomes.method_H[0] - p.mean()))
    rest = y - line.intercept - line.slope * p
    assert found.run_deviation == pytest.approx(np.sqrt((rest**2).sum() / (len(p) - 2)))
    hits = 0
    for h in range(5):
        best = sorted(range(24), key=lambda s: outcomes.losses_SH[s, h])[:6]
        chosen = sorted(range(24), key=lambda s: -outcomes.predicted_SH[s, h])[:6]
        hits += len(set(best) & set(chosen)) / 6
    assert recall_at(outcomes.predicted_SH, -outcomes.losses_SH, 6) == pytest.approx(hits / 5)
    assert found.recall.value == pytest.approx(hits / 5)
    assert found.lds.low < found.lds.value < found.lds.high


def test_the_size_that_is_asked_for_has_the_power():
    """A simulated comparison of that size shows the gain about four times out of five."""
    rng, gain, run, row = np.random.default_rng(0), 0.1, 0.05, 1.0
    seeds, rows = needed_to_show(gain, run_deviation=run, row_deviation=row)
    shown = 0
    for _ in range(2000):
        difference = gain + rng.normal(0, np.sqrt(2 * run**2 / seeds))
        difference += rng.normal(0, row / np.sqrt(rows))
        shown += difference / (gain / 2.8) > 1.96
    assert 0.75 < shown / 2000 < 0.88
    assert needed_to_show(0.1, run_deviation=np.nan, row_deviation=row) is None
    assert needed_to_show(-0.1, run_deviation=run, row_deviation=row) is None
    assert needed_to_show(0.1, run_deviation=0.0, row_deviation=1.0) == (3, 784)


def test_words_say_how_much_and_what_would_show_it():
    found = fit_datamodel(additive(noise=0.05), draws=200)
    words = " ".join(datamodel_words(found, held_out="test rows", method="BIDS"))
    assert "explains about" in words
    assert "24 random subsets, 5 test rows" in words
    assert "Expect BIDS to beat random rows by about" in words
    assert "seeds would detect it" in words
    assert "an extrapolation" in words


def test_noise_is_not_called_a_finding_and_few_subsets_say_only_that():
    rng = np.random.default_rng(3)
    noise = Outcomes(*rng.standard_normal((2, 24, 5)), TASKS, np.full(5, 9.0))
    words = datamodel_words(fit_datamodel(noise, draws=200), held_out="test rows", method="BIDS")
    assert words[0].startswith("These training runs do not show")
    assert "does not show whether" in words[2]
    few = fit_datamodel(additive(19), draws=50)
    assert datamodel_words(few, held_out="test rows", method="BIDS") == [
        "19 subsets are too few for a conclusion; train on at least 20 (--subsets)."
    ]


def test_what_does_not_fit_is_refused():
    good = additive()
    with pytest.raises(MatrixError, match="1 subsets are too few"):
        fit_datamodel(Outcomes(good.predicted_SH[:1], good.losses_SH[:1], TASKS, good.method_H))
    with pytest.raises(MatrixError, match="do not fit"):
        fit_datamodel(Outcomes(good.predicted_SH[:, :2], good.losses_SH, TASKS, good.method_H))
    with pytest.raises(MatrixError, match="NaN"):
        fit_datamodel(Outcomes(good.predicted_SH * np.nan, good.losses_SH, TASKS, good.method_H))
