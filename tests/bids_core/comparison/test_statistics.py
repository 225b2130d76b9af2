"""Intervals, ranks, wins and Holm against hand-worked examples, scipy, and a literal loop."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from bids_core.comparison import Arm, Results, compare, holm, judge, paired_interval
from bids_core.comparison.ranking import average_ranks, balance, count_wins
from bids_core.comparison.statistics import (
    Z95,
    draws_for,
    paired_intervals,
    wilson_interval,
)
from bids_core.errors import DataError

CAPABILITIES = {"a": "x", "b": "x", "c": "y"}


def frame(scores, *, losses=None):
    """Make samples of {(method, n_rows, seed): {task: scores}}."""
    rows = []
    for (method, n_rows, seed), tasks in scores.items():
        for task, values in tasks.items():
            for index, value in enumerate(values):
                loss = 1.0 if losses is None else losses(method, value)
                rows.append((method, n_rows, seed, task, f"{task}{index}", float(value), loss))
    columns = ["method", "n_rows", "seed", "task", "row_id", "score", "answer_loss"]
    return pd.DataFrame(rows, columns=columns)


def test_the_interval_by_hand():
    """Two rows, one seed: the four equally likely draws have means 1, 0, 0 and -1."""
    found = paired_interval({"a": np.array([[1.0, -1.0]])}, draws=20000)
    assert (found.value, found.low, found.high) == (0.0, -1.0, 1.0)
    assert found.p_value == 1.0
    assert (found.n_rows, found.n_seeds) == (2, 1)


def test_one_task_and_one_seed_is_scipys_percentile_bootstrap():
    generator = np.random.default_rng(0)
    values = generator.choice([-1.0, 0.0, 1.0], p=[0.2, 0.45, 0.35], size=300)
    found = paired_interval({"a": values[None]}, draws=20000)
    theirs = bootstrap((values,), np.mean, method="percentile", n_resamples=20000, rng=1)
    assert found.low == pytest.approx(theirs.confidence_interval.low, abs=0.004)
    assert found.high == pytest.approx(theirs.confidence_interval.high, abs=0.004)
    assert found.p_value == pytest.approx(2 * (theirs.bootstrap_distribution <= 0).mean(), abs=0.01)


def test_seeds_and_rows_are_drawn_as_a_literal_loop_draws_them():
    generator = np.random.default_rng(1)
    tasks = {"a": generator.normal(0.2, 1, (3, 8)), "b": generator.normal(0.1, 1, (3, 5))}
    found = paired_interval(tasks, draws=20000)
    means = []
    for _ in range(4000):
        seeds = generator.integers(0, 3, 3)
        parts = []
        for values in tasks.values():
            rows = generator.integers(0, values.shape[1], values.shape[1])
            parts.append(np.mean([values[s, r] for s, r in itertools.product(seeds, rows)]))
        means.append(np.mean(parts))
    low, high = np.quantile(means, (0.025, 0.975))
    assert found.low == pytest.approx(low, abs=0.06)
    assert found.high == pytest.approx(high, abs=0.06)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    generator = np.random.default_rng(2)
    held = 0
    for seed in range(200):
        values = generator.normal(0.3, 1.0, (1, 60))
        found = paired_interval({"a": values}, draws=400, seed=seed)
        held += found.low <= 0.3 <= found.high
    assert 180 <= held <= 199  # 95% of 200 is 190; the percentile interval is a little short


def test_sharing_draws_changes_nothing_and_groups_average_first():
    generator = np.random.default_rng(3)
    one = {name: generator.normal(size=(2, 10)) for name in "abc"}
    two = {name: generator.normal(size=(2, 10)) for name in "abc"}
    assert paired_intervals([one, two])[0] == paired_interval(one)
    grouped = paired_interval(one, groups=[["a", "b"], ["c"]])
    expected = (one["a"].mean() / 2 + one["b"].mean() / 2) / 2 + one["c"].mean() / 2
    assert grouped.value == pytest.approx(expected)


def test_a_handful_of_rows_is_no_certainty():
    assert paired_interval({"a": np.array([[1.0, 1.0, 1.0, 0.0]])}).p_value == 0.25  # 2 / 2^3


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_ranks_wins_and_balance_by_hand():
    means = {"p": {"a": 0.9, "b": 0.5}, "q": {"a": 0.8, "b": 0.5}, "r": {"a": 0.1, "b": 0.6}}
    assert average_ranks(means) == {"p": (1 + 2.5) / 2, "q": (2 + 2.5) / 2, "r": (3 + 1) / 2}
    wins = count_wins({"a": np.array([[1.0, 0.0], [0.0, 0.0]]), "b": np.array([[-1.0], [0.0]])})
    assert (wins.won, wins.tied, wins.lost) == (1, 2, 1)
    found = balance({"a": 0.5, "b": 0.3}, {"a": 0.2, "b": 0.1})
    assert (found.worst_task, found.worst_score) == ("b", 0.3)
    assert found.spread == pytest.approx(0.1)
    assert found.least_gain == pytest.approx(0.2)
    assert found.gain_spread == pytest.approx(0.05)
    assert math.isnan(balance({"a": 0.5}, None).least_gain)


def results(skills, *, n=80, seeds=3):
    generator = np.random.default_rng(4)
    scores = {("zero_shot", 0, -1): {t: generator.random(n) < 0.2 for t in CAPABILITIES}}
    for (method, n_rows), skill in skills.items():
        for seed in range(seeds):
            scores[method, n_rows, seed] = {t: generator.random(n) < skill for t in CAPABILITIES}
    return frame(scores, losses=lambda _m, value: 2.0 - float(value))


def test_a_comparison_of_a_better_method():
    skills = {("bids", 10): 0.7, ("less", 10): 0.45, ("random", 10): 0.4, ("full", 99): 0.5}
    found = compare(Results.of(results(skills), CAPABILITIES), "bids")
    arms = found.arms.set_index("method")
    assert arms.loc["bids", "average_rank"] == 1.0
    assert arms.loc["bids", "won"] == 9
    assert arms.loc["bids", "n_seeds"] == 3
    assert math.isnan(arms.loc["full", "average_rank"])  # nothing of the same budget beside it
    against = found.differences.set_index(["family", "of", "method", "other"])
    ours = against.loc[("random", "score", "bids", "random")]
    assert ours["low"] > 0.15
    assert ours["p_holm"] >= ours["p_value"]
    assert against.loc[("bids", "score", "bids", "full")]["other_rows"] == 99
    assert against.loc[("bids", "loss", "bids", "random")]["high"] < 0
    text = " ".join(judge(found).sentences)
    assert "BIDS is better than random selection by accuracy and held-out answer loss" in text
    assert "240 test rows of 3 tasks" in text
    assert "at least 3 seeds" in text


def test_nothing_is_concluded_from_nothing():
    skills = {("bids", 10): 0.42, ("random", 10): 0.4}
    found = compare(Results.of(results(skills, n=20, seeds=1), CAPABILITIES), "bids")
    text = judge(found).sentences
    assert text[0].startswith("These results do not show whether BIDS is better or worse")
    assert "trained only once, so the variation between seeds is unknown" in " ".join(text)
    same = {("bids", 5, 0): {"a": [0, 0]}, ("random", 5, 0): {"a": [0, 0]}}
    found = compare(Results.of(frame(same), {"a": "x"}), "bids")
    assert "not one of 2 test rows was answered better or worse" in judge(found).sentences[0]
    alone = compare(Results.of(frame({("bids", 5, 0): {"a": [0, 1]}}), {"a": "x"}), "bids")
    assert "add `random`" in judge(alone).sentences[0]


def test_failed_cells_leave_the_seeds_that_both_have():
    scores = {("bids", 5, 0): {"a": [1, 1]}, ("bids", 5, 1): {"a": [0, 0]},
              ("random", 5, 1): {"a": [0, 1]}, ("less", 5, 2): {"a": [1, 1]}}  # fmt: skip
    table = Results.of(frame(scores), {"a": "x"})
    bids, random = Arm(5, "bids"), Arm(5, "random")
    assert table.differences(bids, random)["a"].tolist() == [[0.0, -1.0]]
    found = compare(table, "bids")
    assert len(found.differences.query("other == 'less' and of == 'score'")) == 0  # no common seed


def test_answer_loss_alone_and_other_rows():
    scores = {("bids", 5, 0): {"a": [math.nan]}, ("random", 5, 0): {"a": [math.nan]}}
    table = frame(scores, losses=lambda method, _v: {"bids": 1.0, "random": 2.0}[method])
    found = compare(Results.of(table, {"a": "x"}), "bids")
    assert set(found.differences["of"]) == {"loss"}
    first = judge(found).sentences[0]
    assert first.startswith("These results do not show")  # one row says nothing, however far apart
    assert (
        "answer loss 1.000 against 2.000 nats, 1.000 lower (95% interval 1.000 to 1.000 lower, p 1)"
        in first
    )
    suite = table.assign(score=1.0, answer_loss=math.nan)  # a benchmark has no answer loss
    assert set(compare(Results.of(suite, {"a": "x"}), "bids").differences["of"]) == {
        "score", "capability",
    }  # fmt: skip
    table.loc[0, "row_id"] = "other"
    with pytest.raises(DataError, match="did not answer the same test rows of task a"):
        Results.of(table, {"a": "x"})


@pytest.mark.parametrize(("right", "n"), [(0, 10), (3, 10), (10, 10), (1, 1)])
def test_wilson_interval_solves_its_equation(right, n):
    """Both ends p satisfy (share - p)^2 = z^2 p (1 - p) / n."""
    share = right / n
    for end in wilson_interval(share, n):
        assert (share - end) ** 2 == pytest.approx(Z95**2 * end * (1 - end) / n, abs=1e-9)


def test_none_right_of_few_is_not_taken_for_certain():
    found = compare(Results.of(frame({("bids", 5, 0): {"a": [0] * 10}}), {"a": "x"}), "bids")
    (arm,) = found.arms.to_dict(orient="records")
    assert (arm["macro"], arm["low"]) == (0.0, 0.0)
    assert arm["high"] == pytest.approx(wilson_interval(0.0, 10)[1])


def test_score_and_loss_are_corrected_together():
    skills = {("bids", 10): 0.7, ("less", 10): 0.45, ("random", 10): 0.4}
    frame = compare(Results.of(results(skills), CAPABILITIES), "bids").differences
    for family, size in (("random", 4), ("bids", 6)):  # two and three others, two measures
        part = frame[(frame["family"] == family) & (frame["of"] != "capability")]
        assert len(part) == size
        assert part["p_holm"].tolist() == holm(part["p_value"].tolist())


def test_many_comparisons_get_draws_enough_to_tell_anything():
    assert draws_for(1) == 4000
    for tests in (10, 100, 1000):
        assert tests * 2 / (draws_for(tests) + 1) < 0.05


def test_a_task_that_one_method_lacks_is_an_error():
    scores = {("bids", 5, 0): {"a": [1], "b": [1]}, ("random", 5, 0): {"a": [1], "b": [1]}}
    table = frame(scores)
    table.loc[(table["method"] == "random") & (table["task"] == "b"), "answer_loss"] = math.nan
    with pytest.raises(DataError, match="random at 5 rows has no answer loss on every test row"):
        Results.of(table, {"a": "x", "b": "x"})


def test_scores_that_some_rows_lack_compare_for_no_method(caplog):
    scores = {
        ("bids", 5, 0): {"a": [1, 0], "b": [1, 1]},
        ("less", 5, 0): {"a": [0, math.nan], "b": [0, 1]},
    }
    table = Results.of(frame(scores), {"a": "x", "b": "x"})
    assert table.scored_tasks() == ["b"]
    assert "task a is left out of the scores" in caplog.text
    assert compare(table, "bids") is not None
