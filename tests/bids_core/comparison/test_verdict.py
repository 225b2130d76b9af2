"""What runs and comparisons say of their numbers: badge, sentences, advice."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from bids_core.comparison import Badge, Results, compare, judge
from bids_core.comparison.words import rounded_up


def text(verdict):
    return " ".join(verdict.sentences)


def issue_example(seed=0):
    """40 test rows of each of five tasks, one seed: SmolLM2, 60 picks (BIDS, LESS and random).

    Macro averages 10.5%, 16.5% and 6.0% around a majority answer of 15.0%; answer losses 2.26, 2.95
    and 2.94, of the worst task 5.16, 7.46 and 7.04. Rows of a task are hard or easy for all three.
    """
    generator = np.random.default_rng(seed)
    right = {"bids": (3, 9, 2, 3, 4), "less": (12, 10, 6, 3, 2), "random": (2, 4, 3, 2, 1)}
    losses = {
        "bids": (5.16, 1.9, 1.6, 1.5, 1.14),
        "less": (7.46, 2.4, 2.0, 1.7, 1.19),
        "random": (7.04, 2.5, 2.1, 1.8, 1.26),
    }
    hard = generator.gamma(4.0, 0.25, size=(5, 40))
    rows = []
    for method in right:
        for task in range(5):
            own = hard[task] * np.exp(generator.normal(0, 0.15, 40))
            own *= losses[method][task] / own.mean()
            answered = generator.permutation(40) < right[method][task]
            rows += [
                (method, 60, 0, f"task{task}", f"task{task}:{i}", float(answered[i]), own[i])
                for i in range(40)
            ]
    columns = ["method", "n_rows", "seed", "task", "row_id", "score", "answer_loss"]
    return pd.DataFrame(rows, columns=columns)


@pytest.mark.parametrize("seed", range(5))
def test_a_clear_difference_in_loss_is_heard_where_accuracy_says_nothing(verdict_of, seed):
    verdict = verdict_of(samples=issue_example(seed), majority=0.15)
    assert verdict.badge is Badge.BETTER
    assert verdict.label == "better (by held-out answer loss)"
    assert verdict.sentences[0].startswith(
        "BIDS is better than random selection by held-out answer loss: answer loss 2.260 against "
        "2.940 nats, 0.680 lower (95% interval 0.5"
    )
    assert verdict.sentences[1] == (
        "Accuracy is not informative here: the macro averages of BIDS and random selection "
        "(10.5% and 6.0%) are not above the score of always giving each task's most frequent "
        "answer "
        "(15.0%)."
    )
    assert "BIDS is better than LESS by held-out answer loss: answer loss 2.260" in text(verdict)
    assert "BIDS on task0 (5.16); random on task0 (7.04)" in text(verdict)
    assert "does not win" not in text(verdict)
    assert "`bids compare CONFIG --methods bids,random --budgets 60 --seeds 0,1,2`" in text(verdict)


def test_the_verdict_is_json(verdict_of):
    verdict = verdict_of(samples=issue_example(), majority=0.15)
    found = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
    assert (found["badge"], found["by"]) == ("better", ["loss"])
    assert found["majority"] == pytest.approx(0.15)
    (loss,) = [f for f in found["findings"] if (f["other"], f["measure"]) == ("random", "loss")]
    assert loss["relation"] == "better"
    assert (loss["own"], loss["others"]) == (pytest.approx(2.26), pytest.approx(2.94))
    assert loss["value"] == pytest.approx(-0.68)
    assert loss["low"] < -0.68 < loss["high"] < 0
    (score,) = [f for f in found["findings"] if (f["other"], f["measure"]) == ("random", "score")]
    assert not score["tells"]


def test_a_clear_winner_is_called_one(verdict_of):
    verdict = verdict_of({"bids": [(0.9, 1.0)] * 2, "random": [(0.2, 1.9)] * 2}, majority=0.3)
    assert verdict.label == "better (by accuracy and held-out answer loss)"
    assert verdict.sentences[0].startswith(
        "BIDS is better than random selection by accuracy and held-out answer loss: macro average "
        "90.0% against 20.0%, 70.0 points higher (95% interval "
    )
    assert verdict.sentences[1] == (
        "Always giving each task's most frequent answer would score 30.0%."
    )


def test_a_small_lead_is_no_lead(verdict_of):
    verdict = verdict_of({"bids": [(0.52, 1.5)] * 2, "random": [(0.5, 1.5)] * 2})
    assert (verdict.badge, verdict.by) == (Badge.UNCLEAR, ())
    assert verdict.sentences[0].startswith(
        "These results do not show whether BIDS is better or worse than random selection: "
        "macro average 52.0% against 50.0%, 2.0 points higher (95% interval "
    )
    assert (
        "; answer loss 1.499 against 1.501 nats, 0.002 lower (95% interval" in verdict.sentences[0]
    )
    assert " lower to " in verdict.sentences[0]
    assert (
        "would just detect it (an estimate; use twice as many to be safe): add rows to `test`"
        in text(verdict)
    )


def test_a_defeat_is_said_first_and_plainly(verdict_of):
    verdict = verdict_of({"bids": [(0.2, 2.0)] * 2, "random": [(0.8, 1.0)] * 2})
    assert verdict.label == "no better than random (by accuracy and held-out answer loss)"
    assert verdict.sentences[0].startswith("BIDS is worse than random selection by accuracy and")


def test_measures_that_disagree_are_both_told(verdict_of):
    verdict = verdict_of({"bids": [(0.9, 3.0)] * 2, "random": [(0.4, 1.0)] * 2})
    assert verdict.badge is Badge.UNCLEAR
    assert verdict.sentences[0].startswith(
        "The two measures disagree: BIDS is better than random selection by accuracy and worse by "
        "held-out answer loss: macro average 90.0% against 40.0%"
    )
    assert "answer loss 2.999 against 1.001 nats" in verdict.sentences[0]


def test_a_gain_that_would_matter_is_ruled_out(verdict_of):
    arms = {"bids": [(0.0, 2.0)], "random": [(0.0, 2.0)]}
    verdict = verdict_of(arms, n=400, majority=0.3, noise=0.01)
    assert verdict.badge is Badge.NO_BETTER
    assert verdict.sentences[0].startswith("BIDS is no better than random selection: answer loss")
    assert "less answer loss) is ruled out." in verdict.sentences[0]
    assert "test rows instead of" not in text(verdict)


def test_harm_to_the_base_model_outweighs_all_else(verdict_of):
    arms = {"zero_shot": [(0.9, 0.5)], "bids": [(0.5, 1.5)], "random": [(0.1, 2.5)]}
    verdict = verdict_of(arms)
    assert verdict.label == "worse than the base model (by accuracy and held-out answer loss)"
    assert verdict.sentences[0].startswith("BIDS is better than random selection")
    assert "Training on the BIDS selection made the base model worse: macro average" in text(
        verdict
    )


def test_training_that_changed_nothing_is_said(verdict_of):
    arms = {"zero_shot": [(0.5, 1.5)], "bids": [(0.52, 1.5)], "random": [(0.5, 1.5)]}
    assert "made no difference to the base model beyond chance" in text(verdict_of(arms))
    arms["zero_shot"] = [(0.0, 4.0)]
    assert "Training on the BIDS selection improved the base model" in text(verdict_of(arms))


def test_a_method_that_is_better_than_the_main_one_is_named_right_after(verdict_of):
    arms = {"bids": [(0.5, 1.5)], "random": [(0.1, 2.5)], "less": [(0.9, 0.6)], "sum": [(0.5, 1.5)]}
    verdict = verdict_of(arms)
    assert verdict.badge is Badge.BETTER
    assert verdict.sentences[2].startswith("BIDS is worse than LESS by accuracy and held-out")
    assert verdict.sentences[3] == "BIDS cannot be distinguished from sum."
    assert verdict.ahead == (verdict.sentences[2],)


def test_without_random_nothing_is_concluded(verdict_of):
    verdict = verdict_of({"bids": [(0.5, 1.5)], "less": [(0.1, 2.5)]})
    assert (verdict.badge, verdict.command) == (Badge.UNCLEAR, None)
    assert "There is no random selection to compare BIDS with" in verdict.sentences[0]
    assert "BIDS has a macro average of 50.0% (95% interval" in verdict.sentences[0]
    assert "BIDS is better than LESS by accuracy" in text(verdict)
    alone = verdict_of({"bids": [(0.5, 1.5)]})
    assert "with 10 rows" in alone.sentences[0]
    assert text(alone).endswith("each seed") is False
    assert "random selection itself" in text(verdict_of({"random": [(0.5, 1.5)]}, main="random"))


def test_random_is_not_compared_with_itself(verdict_of):
    """It used to be `better`, because it beats the base model, and to advise `random,random`."""
    arms = {"random": [(0.5, 1.5)], "zero_shot": [(0.1, 2.5)]}
    verdict = verdict_of(arms, main="random")
    assert (verdict.badge, verdict.command, verdict.advice) == (Badge.UNCLEAR, None, "")
    assert "random selection itself" in verdict.sentences[0]
    assert "improved the base model" in text(verdict)


def test_few_rows_are_no_certainty(verdict_of):
    verdict = verdict_of({"bids": [(1.0, 1.0)], "random": [(0.0, 2.0)]}, n=4)
    assert verdict.badge is Badge.UNCLEAR


def test_nothing_answered_at_all_is_not_accuracy(verdict_of):
    verdict = verdict_of({"bids": [(0.0, 1.0)], "random": [(0.0, 2.0)]}, majority=math.nan)
    assert verdict.by == ("loss",)
    assert "neither BIDS nor random selection gives a single right answer" in text(verdict)


def test_scores_alone_and_losses_alone(verdict_of, samples_of):
    rows = np.arange(60)
    arms = {
        ("bids", 10): {"a": (rows < 50, rows * np.nan)},
        ("random", 10): {"a": (rows < 10, rows * np.nan)},
    }
    assert verdict_of(samples=samples_of(arms)).by == ("score",)
    arms = {
        ("bids", 10): {"a": (rows * np.nan, np.sin(rows))},
        ("random", 10): {"a": (rows * np.nan, 2 + np.sin(rows))},
    }
    verdict = verdict_of(samples=samples_of(arms))
    assert verdict.by == ("loss",)
    assert "Accuracy" not in text(verdict)
    assert "nan" not in text(verdict)


def test_budgets_are_told_one_by_one(verdict_of, samples_of):
    rows = np.arange(80)
    wave = 0.3 * np.sin(rows)
    arms = {
        ("bids", 10): {"a": (rows < 60, 1.0 + wave)}, ("random", 10): {"a": (rows < 20, 2 - wave)},
        ("bids", 20): {"a": (rows < 61, 1.0 + wave)}, ("random", 20): {"a": (rows < 60, 1 - wave)},
    }  # fmt: skip
    verdict = verdict_of(samples=samples_of(arms))
    assert verdict.badge is Badge.BETTER
    assert verdict.sentences[0].startswith(
        "BIDS is better than random selection with 10 rows and cannot be distinguished from it "
        "with 20 rows: with 10 rows macro average 75.0% against 25.0%"
    )
    assert "--budgets 10,20" in verdict.command


def test_several_seeds_tell_how_many_more_would(verdict_of, samples_of):
    generator = np.random.default_rng(0)
    parts = []
    for seed in range(3):
        shift = (0.5, -0.3, 0.2)[seed]
        arms = {
            ("bids", 10): {"a": (np.ones(40), 1 + shift + generator.normal(0, 0.1, 40))},
            ("random", 10): {"a": (np.ones(40), 1 + generator.normal(0, 0.1, 40))},
        }
        parts.append(samples_of(arms, seeds=(seed,)))
    verdict = verdict_of(samples=pd.concat(parts))
    assert verdict.badge is Badge.UNCLEAR
    assert "seeds instead of 3 would just detect" in text(verdict)
    assert verdict.command.endswith("--seeds 0,1,2,3,4,5,6,7,8,9")


def test_a_run_and_a_comparison_with_its_seed_say_the_same(samples_of):
    """The same samples, whichever number the seed has, whichever order the rows come in."""
    samples = issue_example()
    names = list(dict.fromkeys(samples["task"]))
    run = Results.of(samples, dict.fromkeys(names, "x"), dict.fromkeys(names, 0.15))
    shuffled = samples.assign(seed=7).sample(frac=1, random_state=1)
    compared = Results.of(shuffled, dict.fromkeys(names, "x"), dict.fromkeys(names, 0.15))
    assert judge(compare(run, "bids")).to_dict() == judge(compare(compared, "bids")).to_dict()


def test_the_null_is_rarely_called_better(verdict_of):
    """Two methods of the same skill: at most 5% are told apart, both measures together."""
    generator = np.random.default_rng(1)
    wrong = 0
    for _ in range(200):
        right, losses = generator.random((2, 60)) < 0.5, generator.gamma(2, 1, (2, 60))
        arms = {
            (name, 10): {"a": (right[k], losses[k])} for k, name in enumerate(("bids", "random"))
        }
        rows = [
            (name, 10, 0, "a", f"{i}", float(s), loss)
            for (name, _), tasks in arms.items()
            for i, (s, loss) in enumerate(zip(*tasks["a"], strict=True))
        ]
        columns = ["method", "n_rows", "seed", "task", "row_id", "score", "answer_loss"]
        verdict = verdict_of(samples=pd.DataFrame(rows, columns=columns), draws=400)
        wrong += bool(verdict.by)
    assert wrong <= 18  # 5% of 200 is 10; 18 is 2.5 standard errors above


def test_what_only_the_number_of_comparisons_hides_needs_no_more_rows(verdict_of):
    """Eight rivals: p 0.01 alone is none after Holm, and the two alone would tell."""
    arms = {f"m{i}": [(0.5, 1.5)] for i in range(8)}
    verdict = verdict_of(arms | {"bids": [(0.5, 1.5)], "random": [(0.36, 1.5)]})
    assert verdict.badge is Badge.UNCLEAR
    assert "A comparison of these two alone, over more seeds, may settle it" in text(verdict)


def test_estimates_are_rounded_up_to_two_digits():
    assert [rounded_up(n) for n in (7, 99, 101, 4137, 12000)] == [7, 99, 110, 4200, 12000]
