"""The result in plain words: who has the highest macro average, and whether that means anything.

Intervals are 95% intervals of a difference of macro averages, the tasks taken as independent. The
variance of a task's score counts two right and two wrong answers more than there were (Agresti and
Caffo, 2000): plain standard errors call 0 of 10 a certainty. The methods answer the same test rows,
which makes the true intervals narrower; the variation between training seeds, which nothing here
measures, makes them wider.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bids_core.evaluation import ANSWER_LOSS, macro_average
from bids_core.formatting import number, percent
from bids_core.selection.names import ZERO_SHOT, method_label

if TYPE_CHECKING:
    import pandas as pd

Z95: Final = 1.959963984540054
"""97.5% quantile of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one method stands.

    Args:
        method: its name.
        by_task: macro average over tasks, 0 to 1.
        by_capability: macro average over capabilities, 0 to 1.
        stderr: standard error of `by_task`.
        answer_loss: mean over tasks of the answer loss.
    """

    method: str
    by_task: float
    by_capability: float
    stderr: float
    answer_loss: float


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of two macro averages, with its 95% interval."""

    value: float
    low: float
    high: float

    @property
    def is_noise(self) -> bool:
        """Whether the interval holds zero."""
        return self.low <= 0 <= self.high


def standings(scores: pd.DataFrame) -> list[Standing]:
    """Return every method's standing, best macro average first."""
    found = []
    for method, frame in scores.groupby("method", sort=False):
        averages = macro_average(frame)
        scored = with_score(frame)
        variances = [
            plus_four_variance(float(score), int(n))
            for score, n in zip(scored["score"], scored["n"], strict=True)
        ]
        found.append(
            Standing(
                str(method),
                averages["task"],
                averages["capability"],
                math.sqrt(sum(variances)) / max(1, len(scored)),
                float(frame["answer_loss"].mean()),
            )
        )
    return sorted(found, key=lambda standing: -standing.by_task)


def with_score(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of tasks that are scored, not only measured by their answer loss."""
    return scores[scores["metric"] != ANSWER_LOSS]


def plus_four_variance(score: float, n: int) -> float:
    """Return the variance of a share of right answers, with two right and two wrong ones added."""
    share = (score * n + 2) / (n + 4)
    return share * (1 - share) / (n + 4)


def wilson_interval(score: float, n: int) -> tuple[float, float]:
    """Return the 95% interval of a share of right answers (Wilson, 1927)."""
    center = (score + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    margin = math.sqrt(score * (1 - score) / n + Z95**2 / (4 * n**2)) * Z95 / (1 + Z95**2 / n)
    return max(0.0, center - margin), min(1.0, center + margin)


def difference(first: Standing, second: Standing) -> Difference:
    """Return how far the first stands above the second."""
    value = first.by_task - second.by_task
    margin = Z95 * math.hypot(first.stderr, second.stderr)
    return Difference(value, value - margin, value + margin)


def headline(scores: pd.DataFrame, main_method: str) -> str:
    """Say in plain words what the evaluation found, whether or not it flatters the main method.

    Args:
        scores: columns method, task, capability, metric, n, score, stderr, majority, answer_loss.
        main_method: the method that the run is about.

    Returns:
        One paragraph of plain text.

    Raises:
        ValueError: the main method was not evaluated.
    """
    return " ".join(sentences(scores, main_method))


def sentences(scores: pd.DataFrame, main_method: str) -> list[str]:
    """Return the sentences of the headline; the first one is the verdict."""
    ranking = standings(scores)
    main = next((s for s in ranking if s.method == main_method), None)
    if main is None:
        msg = f"there are no scores of {main_method!r}, only of {[s.method for s in ranking]}"
        raise ValueError(msg)
    rivals = [s for s in ranking if s.method not in (main_method, ZERO_SHOT)]
    scored = with_score(scores)
    found = [_loss(ranking)]
    if not scored.empty:
        found = [
            _verdict(main, rivals, scored),
            _against_random(main, rivals),
            _against_zero_shot(main, ranking),
            _majority(main, scored),
            *found,
        ]
    if rivals:
        found.append("Each method was trained once; other seeds would give other numbers.")
    return [sentence for sentence in found if sentence]


def _verdict(main: Standing, rivals: list[Standing], scores: pd.DataFrame) -> str:
    one = scores[scores["method"] == main.method]
    basis = f"{_count(len(one), 'task')} ({int(one['n'].sum()):,} test rows)"
    label = method_label(main.method)
    if not rivals:
        return f"{label} has a macro average of {percent(main.by_task)} over {basis}."
    best = rivals[0]
    gap = difference(main, best)
    if main.by_task == best.by_task:
        return (
            f"{label} and {method_label(best.method)} tie at a macro average of "
            f"{percent(main.by_task)} over {basis}."
        )
    if gap.value > 0:
        first = f"No clear winner: {label}" if gap.is_noise else label
        verdict = "within noise" if gap.is_noise else "more than noise"
        return (
            f"{first} has the highest macro average over {basis}: {percent(main.by_task)}, "
            f"{_points(gap)} ahead of {method_label(best.method)} ({percent(best.by_task)}), "
            f"which is {verdict}."
        )
    verdict = "within noise" if gap.is_noise else "more than noise"
    return (
        f"{label} does not win here: {method_label(best.method)} has the highest macro average "
        f"over {basis}, {percent(best.by_task)} against {percent(main.by_task)}; the difference is "
        f"{_points(difference(best, main))}, which is {verdict}."
    )


def _against_random(main: Standing, rivals: list[Standing]) -> str:
    random = next((s for s in rivals if s.method == "random"), None)
    if random is None or random == rivals[0]:
        return ""
    gap = difference(main, random)
    if gap.value == 0:
        return "It is level with random selection."
    side = "above" if gap.value > 0 else "below"
    shown = gap if gap.value > 0 else difference(random, main)
    noise = "within noise" if gap.is_noise else "more than noise"
    return f"It is {side} random selection by {_points(shown)}, {noise}."


def _against_zero_shot(main: Standing, ranking: list[Standing]) -> str:
    base = next((s for s in ranking if s.method == ZERO_SHOT), None)
    if base is None:
        return ""
    label = method_label(main.method)
    gap = difference(main, base)
    if gap.is_noise:
        return (
            f"The base model without training has {percent(base.by_task)}: training on the "
            f"{label} selection made no difference beyond noise."
        )
    change = "raised" if gap.value > 0 else "lowered"
    return (
        f"Training on the {label} selection {change} the macro average from "
        f"{percent(base.by_task)} (the base model without training)."
    )


def _majority(main: Standing, scores: pd.DataFrame) -> str:
    one = scores[(scores["method"] == main.method) & scores["majority"].notna()]
    if one.empty:  # answers that a scorer, tests or checkers judge have no most frequent one
        return ""
    beaten = int((one["score"] > one["majority"]).sum())
    every = len(one) == (scores["method"] == main.method).sum()
    where = "" if every else f" (of the {_count(len(one), 'task')} that can have one)"
    return (
        f"Always giving each task's most frequent answer{where} would have "
        f"{percent(float(one['majority'].mean()))}; {method_label(main.method)} is above it on "
        f"{beaten} of {_count(len(one), 'task')}."
    )


def _loss(ranking: list[Standing]) -> str:
    trained = [s for s in ranking if s.method != ZERO_SHOT and s.answer_loss == s.answer_loss]
    if not trained:
        return ""
    by_loss = sorted(trained, key=lambda standing: standing.answer_loss)
    listed = ", ".join(f"{method_label(s.method)} {number(s.answer_loss)}" for s in by_loss)
    return f"Held-out answer loss, lower is better: {listed}."


def _points(gap: Difference) -> str:
    value = f"{100 * abs(gap.value):.1f} percentage points"
    low, high = (number(100 * end, 1) for end in (gap.low, gap.high))
    return f"{value} (95% interval {low} to {high})"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
