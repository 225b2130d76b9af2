import math

import pandas as pd
import pytest

from bids_core.report import headline
from bids_core.report.headline import (
    Z95,
    difference,
    plus_four_variance,
    standings,
    wilson_interval,
)


def test_a_clear_winner_is_called_one(make_scores):
    text = headline(make_scores(n=1000, bids=(0.9, 0.9), less=(0.1, 0.2)), "bids")
    assert text.startswith("BIDS has the highest macro average over 2 tasks (2,000 test rows): 90")
    assert "ahead of LESS (15.0%), which is more than noise." in text


def test_a_small_lead_is_called_noise(make_scores):
    text = headline(make_scores(bids=(0.52, 0.5), less=(0.5, 0.5)), "bids")
    assert "1.0 percentage points" in text
    assert text.startswith("No clear winner: BIDS has the highest")
    assert "ahead of LESS (50.0%), which is within noise." in text


def test_a_defeat_is_said_first_and_plainly(make_scores):
    scores = make_scores(n=1000, bids=(0.2, 0.2), random=(0.5, 0.5), less=(0.3, 0.3))
    text = headline(scores, "bids")
    assert text.startswith("BIDS does not win here: random has the highest macro average")
    assert "50.0% against 20.0%" in text
    assert "which is more than noise" in text


def test_a_tie_is_a_tie(make_scores):
    text = headline(make_scores(bids=(0.5, 0.5), less=(0.4, 0.6)), "bids")
    assert text.startswith("BIDS and LESS tie at a macro average of 50.0%")


def test_random_selection_is_compared_even_if_it_is_not_the_best_rival(make_scores):
    text = headline(make_scores(bids=(0.5, 0.5), less=(0.48, 0.5), random=(0.4, 0.4)), "bids")
    assert "It is above random selection by 10.0 percentage points" in text


def test_zero_shot_is_no_rival_but_is_compared(make_scores):
    scores = make_scores(n=1000, zero_shot=(0.9, 0.9), bids=(0.5, 0.5), less=(0.1, 0.1))
    text = headline(scores, "bids")
    assert text.startswith("BIDS has the highest")
    assert "lowered the macro average from 90.0% (the base model without training)" in text


def test_training_that_changed_nothing_is_said(make_scores):
    text = headline(make_scores(zero_shot=(0.5, 0.5), bids=(0.5, 0.52)), "bids")
    assert "made no difference beyond noise" in text


def test_majority_and_losses_are_named(make_scores):
    text = headline(make_scores(bids=(0.5, 0.2), less=(0.1, 0.1)), "bids")
    assert "most frequent answer would have 30.0%; BIDS is above it on 1 of 2 tasks" in text
    assert "Held-out answer loss, lower is better: BIDS 1.650, LESS 1.900." in text


def test_a_single_method_is_not_compared(make_scores):
    text = headline(make_scores(bids=(0.5, 0.5)), "bids")
    assert text.startswith("BIDS has a macro average of 50.0% over 2 tasks (100 test rows).")
    assert "seeds" not in text


def test_none_right_of_few_is_not_a_certainty(make_scores):
    found = standings(make_scores(n=5, bids=(0.0, 0.0), less=(0.0, 0.2)))
    assert difference(found[0], found[1]).is_noise
    assert all(standing.stderr > 0.05 for standing in found)


def test_main_method_without_scores_is_an_error(make_scores):
    with pytest.raises(ValueError, match="no scores of 'bids'"):
        headline(make_scores(less=(0.5, 0.5)), "bids")


def test_standing_is_the_plain_formula(make_scores):
    standing = standings(make_scores(bids=(0.5, 0.7)))[0]
    assert standing.by_task == pytest.approx(0.6)
    variance = plus_four_variance(0.5, 50) + plus_four_variance(0.7, 50)
    assert standing.stderr == pytest.approx(math.sqrt(variance) / 2)


def test_capabilities_weigh_the_same_however_many_tasks_they_have():
    rows = [("a", "math", 0.0), ("b", "math", 0.2), ("c", "logic", 0.9)]
    scores = pd.DataFrame(
        [
            {
                "method": "bids",
                "task": t,
                "capability": c,
                "n": 9,
                "score": s,
                "answer_loss": 1.0,
                "metric": "exact_match",
            }
            for t, c, s in rows
        ]
    )
    assert standings(scores)[0].by_capability == pytest.approx(0.5)


@pytest.mark.parametrize(("right", "n"), [(0, 10), (3, 10), (10, 10), (1, 1)])
def test_wilson_interval_solves_its_equation(right, n):
    """Both ends p satisfy (share - p)^2 = z^2 p (1 - p) / n."""
    share = right / n
    for end in wilson_interval(share, n):
        assert (share - end) ** 2 == pytest.approx(Z95**2 * end * (1 - end) / n, abs=1e-9)


def test_tasks_without_a_score_count_in_the_loss_alone(make_scores):
    scores = make_scores(n=1000, bids=(0.9, 0.9), less=(0.1, 0.1))
    is_quiz = scores["task"] == "quiz"
    scores.loc[is_quiz, "metric"] = "answer_loss"
    scores.loc[is_quiz, ["score", "stderr", "majority"]] = math.nan
    text = headline(scores, "bids")
    assert text.startswith("BIDS has the highest macro average over 1 task (1,000 test rows): 90")
    assert "answer loss, lower is better: BIDS 1.100, LESS 1.900." in text
    scores["metric"] = "answer_loss"
    assert headline(scores, "bids").startswith("Held-out answer loss, lower is better: BIDS 1.100")


def test_judged_answers_have_no_majority_and_perhaps_no_loss(make_scores):
    scores = make_scores(bids=(0.52, 0.5), less=(0.5, 0.5))
    some = scores.copy()
    some.loc[some["task"] == some["task"].iloc[0], "majority"] = math.nan
    assert "of 1 task." in headline(some, "bids")
    scores[["majority", "answer_loss"]] = math.nan
    text = headline(scores, "bids")
    assert "most frequent answer" not in text
    assert "answer loss" not in text
    assert "nan" not in text
