"""What is concluded from measured and predicted changes, on made-up data with a known truth."""

import numpy as np
import pytest

from bids_core.diagnostics.rank_correlation import spearman
from bids_core.diagnostics.trust import LEAST_ROWS, assess
from bids_core.errors import MatrixError

TASKS = ["sums"] * 4 + ["quiz"] * 4
IDS = [f"v{j}" for j in range(8)]


def made_up(n=60, *, seed=0, noise=0.5):
    """Changes of 1e-3 nats; the run's influence is the truth with noise, quiz has none of it."""
    rng = np.random.default_rng(seed)
    truth = 1e-3 * rng.standard_normal((n, 8))
    run = truth + noise * 1e-3 * rng.standard_normal((n, 8))
    run[:, 4:] = 1e-3 * rng.standard_normal((n, 4))
    return truth, {"first_order": truth + 1e-6, "cosine": truth**3, "run": run}


def judge(truth, predictions, **changes):
    settings = {"losses_M": np.full(8, 2.0), "tasks": TASKS, "validation_ids": IDS, "draws": 200}
    return assess(truth, predictions, **(settings | changes))


def test_means_costs_and_tasks_are_those_of_the_definition():
    truth, predictions = made_up()
    found = judge(truth, predictions)
    rho = spearman(predictions["run"], truth)
    assert found.main.value == pytest.approx(rho.mean())
    assert found.tasks["sums"].value == pytest.approx(rho[:4].mean())
    assert found.instances == pytest.approx(dict(zip(IDS, rho, strict=True)))
    assert found.correlations["cosine"].value == pytest.approx(1)  # a cube keeps the ranks
    assert found.costs["cosine"].value == pytest.approx(0)
    assert found.costs["run"].value == pytest.approx(1 - rho.mean())
    assert list(found.costs) == ["cosine", "run"]
    assert found.main.low < found.main.value < found.main.high
    assert found.tasks["sums"].positive
    assert not found.tasks["quiz"].positive
    assert found.slope == pytest.approx(1, abs=0.01)
    words = " ".join(found.to_dict()["words"])
    assert "No predictive power shown for: quiz" in words
    assert "the model's dtype in the run costs" in words
    assert "60 rows, 8 validation instances" in words


def test_too_few_rows_say_only_that():
    truth, predictions = made_up(LEAST_ROWS - 1)
    words = judge(truth, predictions).to_dict()["words"]
    assert words == [
        "19 rows are too few for a conclusion about influence; measure at least 20 (--rows)."
    ]


def test_chance_is_not_called_a_finding():
    verdicts = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth, run = 1e-3 * rng.standard_normal((2, 40, 8))
        first = judge(truth, {"run": run}).to_dict()["words"][0]
        verdicts += first.startswith("These steps do not show")
    assert verdicts >= 17


def test_the_wrong_way_round_is_said():
    truth, _ = made_up()
    assert "wrong order" in judge(truth, {"run": -truth}).to_dict()["words"][0]


def test_changes_lost_in_rounding_are_left_out_and_counted():
    truth, predictions = made_up()
    truth[:, 0] = 2.4e-7 * np.round(truth[:, 0] / 1e-3)  # a few float32 steps of a loss of 2
    found = judge(truth, predictions)
    assert (found.n_instances, found.n_unresolved) == (7, 1)
    assert "lost in rounding" in " ".join(found.to_dict()["words"])
    with pytest.raises(MatrixError, match="too small to change"):
        judge(1e-9 * truth, predictions)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": np.ones((3, 8))}, "prediction run is"),
        ({"cosine": np.full((60, 8), np.nan)}, "prediction cosine has an entry"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    truth, predictions = made_up()
    with pytest.raises(MatrixError, match=message):
        judge(truth, predictions | change)
    with pytest.raises(MatrixError, match="not among the predictions"):
        judge(truth, {"cosine": truth})
