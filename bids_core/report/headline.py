"""The result in plain words: who has the highest macro average, and whether that means anything.

Intervals are normal 95% intervals of a difference of macro averages, from the tasks' standard
errors taken as independent. The methods answer the same test rows, which makes the true intervals
narrower; the variation between training seeds, which nothing here measures, makes them wider.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bids_core.evaluation import macro_average
from bids_core.report.inputs import ZERO_SHOT
from bids_core.report.names import method_label, number, percent

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
        stderr: standard error of `by_task`; NaN where a task has a single row.
        answer_loss: mean over tasks of the answer loss.
    """

    method: str
    by_task: float
    by_capability: float
    stderr: float
    answer_loss: float


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of two macro averages, with its 95% interval (NaN where unknown)."""

    value: float
    low: float
    high: float

    @property
    def is_noise(self) -> bool:
        """Whether the interval holds zero, or is unknown."""
        return not (self.low > 0 or self.high < 0)


def standings(scores: pd.DataFrame) -> list[Standing]:
    """Return every method's standing, best macro average first."""
    found = []
    for method, frame in scores.groupby("method", sort=False):
        averages = macro_average(frame)
        stderr = math.sqrt(float((frame["stderr"] ** 2).sum(skipna=False))) / len(frame)
        found.append(
            Standing(
                str(method),
                averages["task"],
                averages["capability"],
                stderr,
                float(frame["answer_loss"].mean()),
            )
        )
    return sorted(found, key=lambda standing: -standing.by_task)


def difference(first: Standing, second: Standing) -> Difference:
    """Return how far the first stands above the second."""
    value = first.by_task - second.by_task
    margin = Z95 * math.hypot(first.stderr, second.stderr)
    return Difference(value, value - margin, value + margin)


def headline(scores: pd.DataFrame, main_method: str) -> str:
    """Say in plain words what the evaluation found, whether or not it flatters the main method.

    Args:
        scores: columns method, task, capability, n, score, stderr, majority, answer_loss.
        main_method: the method that the run is about.

    Returns:
        One paragraph of plain text.
    """
    ranking = standings(scores)
    main = next(s for s in ranking if s.method == main_method)
    rivals = [s for s in ranking if s.method not in (main_method, ZERO_SHOT)]
    sentences = [_verdict(main, rivals, scores)]
    sentences += [_against_random(main, rivals)]
    sentences += [_against_zero_shot(main, ranking), _majority(scores), _loss(ranking)]
    if rivals:
        sentences.append(
            "Each method was trained once, so the variation between training seeds comes on top."
        )
    return " ".join(sentence for sentence in sentences if sentence)


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
        verdict = (
            "that lead is within noise" if gap.is_noise else "that lead is larger than the noise"
        )
        return (
            f"{label} has the highest macro average over {basis}: {percent(main.by_task)}, "
            f"{_points(gap)} ahead of {method_label(best.method)} ({percent(best.by_task)}); "
            f"{verdict}."
        )
    verdict = (
        "that deficit is within noise" if gap.is_noise else "that deficit is larger than the noise"
    )
    return (
        f"{label} does not win here: {method_label(best.method)} has the highest macro average "
        f"over {basis}, {percent(best.by_task)} against {percent(main.by_task)}; the difference is "
        f"{_points(difference(best, main))}, and {verdict}."
    )


def _against_random(main: Standing, rivals: list[Standing]) -> str:
    random = next((s for s in rivals if s.method == "random"), None)
    if random is None or random == rivals[0]:
        return ""
    gap = difference(main, random)
    side = "above" if gap.value >= 0 else "below"
    shown = gap if gap.value >= 0 else difference(random, main)
    noise = "within noise" if gap.is_noise else "larger than the noise"
    return f"It is {_points(shown)} {side} random selection ({noise})."


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
        f"Training on the {label} selection {change} it from {percent(base.by_task)} (the base "
        "model without training)."
    )


def _majority(scores: pd.DataFrame) -> str:
    by_task = scores.drop_duplicates("task")["majority"]
    return f"Always giving each task's most frequent answer would have {percent(by_task.mean())}."


def _loss(ranking: list[Standing]) -> str:
    trained = [s for s in ranking if s.method != ZERO_SHOT]
    if len(trained) < 2:
        return ""
    by_loss = sorted(trained, key=lambda standing: standing.answer_loss)
    listed = ", ".join(f"{method_label(s.method)} {number(s.answer_loss)}" for s in by_loss)
    return f"Held-out answer loss, lower is better: {listed}."


def _points(gap: Difference) -> str:
    value = f"{100 * abs(gap.value):.1f} percentage points"
    if math.isnan(gap.low):
        return f"{value} (no interval: a task has a single row)"
    low, high = (number(100 * end, 1) for end in (gap.low, gap.high))
    return f"{value} (95% interval {low} to {high})"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
