"""From the scores of all rows to the tables of a comparison."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from bids_core.comparison.needed import needed
from bids_core.comparison.ranking import average_ranks, balance, count_wins
from bids_core.comparison.results import RANDOM, Arm
from bids_core.comparison.statistics import (
    LEVEL,
    draws_for,
    holm,
    paired_intervals,
    task_weights,
    wilson_interval,
)
from bids_core.selection.names import ZERO_SHOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from bids_core.comparison.results import Results
    from bids_core.comparison.statistics import Interval


@dataclass(frozen=True)
class Comparison:
    """The tables of a comparison.

    Args:
        main_method: the method whose differences are tested.
        arms: one row per arm: method, n_rows, n_seeds, macro (average over tasks), low and high
            (its 95% interval), macro_capability, seed_std (standard deviation of `macro` between
            seeds; NaN with one seed), average_rank (among the trained methods of the same budget),
            won, tied, lost (pairs of task and seed against random), worst_task, worst_score,
            spread, least_gain, gain_spread, answer_loss.
        differences: one row per pair compared: method, other, n_rows, other_rows, of (`score`,
            `capability`: macro average over capabilities, or `loss`: answer loss), own, others (the
            two means), value (their difference), low, high, p_value, p_holm (adjusted within
            `family`), family, n_rows_tested, n_seeds, tells (False if neither score is above the
            majority score), needed_rows, needed_seeds (see `needed`; NaN if no number would do).
        tasks: one row per arm and task: method, n_rows, task, capability, score (NaN where the task
            has none), majority (likewise), answer_loss.
        floor: macro average of always giving the most frequent answer.
    """

    main_method: str
    arms: pd.DataFrame
    differences: pd.DataFrame
    tasks: pd.DataFrame
    floor: float = 0.0


def compare(
    results: Results, main_method: str, *, draws: int | None = None, seed: int = 0
) -> Comparison:
    """Compute all tables.

    Two families of comparisons are each corrected for multiple testing (Holm): every method against
    random at each budget, and the main method against every other one at each budget. Score and
    answer loss address the same question, so a family holds both.

    Args:
        results: of all finished cells.
        main_method: the method whose differences are tested.
        draws: bootstrap draws; None: 4,000, and more where there are many comparisons.
        seed: of the draws.
    """
    draws = draws or draws_for(2 * len(_pairs(results, main_method)))
    arms = _arms(results, draws=draws, seed=seed)
    differences = _differences(results, main_method, draws=draws, seed=seed)
    return Comparison(
        main_method, arms, _told(differences, arms, results.floor()), _tasks(results),
        results.floor(),
    )  # fmt: skip


def _arms(results: Results, *, draws: int, seed: int) -> pd.DataFrame:
    ranks: dict[Arm, float] = {}
    for n_rows in results.budgets():
        same = {arm.method: results.task_means(arm) for arm in results.arms if arm.n_rows == n_rows}
        if len(same) == 1:
            continue
        ranks |= {Arm(n_rows, method): rank for method, rank in average_ranks(same).items()}
    base = next((arm for arm in results.arms if arm.method == ZERO_SHOT), None)
    scored = [arm for arm in results.arms if results.scores[arm]]
    overall = paired_intervals([results.scores[arm] for arm in scored], draws=draws, seed=seed)
    intervals = dict(zip(scored, overall, strict=True))
    rows = []
    for arm in results.arms:
        row: dict[str, Any] = {
            "method": arm.method,
            "n_rows": arm.n_rows,
            "n_seeds": len(results.seeds[arm]) if arm.n_rows else 0,
            "answer_loss": _mean([float(v.mean()) for v in results.losses[arm].values()]),
        }
        if arm in intervals:
            row |= _score_columns(results, arm, base, intervals[arm])
            row["average_rank"] = ranks.get(arm, math.nan)
        rows.append(row)
    return pd.DataFrame(rows)


def _score_columns(
    results: Results, arm: Arm, base: Arm | None, overall: Interval
) -> dict[str, Any]:
    scores = results.scores[arm]
    means = results.task_means(arm)
    by_capability = [np.mean([means[name] for name in group]) for group in results.groups()]
    per_seed = np.mean([values.mean(axis=1) for values in scores.values()], axis=0)
    low, high = overall.low, overall.high
    if low == high and 0 <= low <= 1:  # if all rows are wrong, or all right, the draws do not vary
        low, high = wilson_interval(low, overall.n_rows)
    found = {
        "macro": overall.value,
        "low": low,
        "high": high,
        "macro_capability": float(np.mean(by_capability)),
        "seed_std": float(per_seed.std(ddof=1)) if len(per_seed) > 1 else math.nan,
        **asdict(balance(means, None if base is None else results.task_means(base))),
    }
    other = Arm(arm.n_rows, RANDOM)
    if arm != other and other in results.arms:
        differences = results.differences(arm, other)
        if _n_seeds(differences):
            found |= asdict(count_wins(differences))
    return found


def _pairs(results: Results, main: str) -> list[tuple[str, Arm, Arm]]:
    """Return the pairs to compare: family, first and second arm."""
    arms = set(results.arms)
    trained = [arm for arm in results.arms if arm.n_rows]
    pairs = [
        (RANDOM, arm, Arm(arm.n_rows, RANDOM))
        for arm in trained
        if arm.method != RANDOM and Arm(arm.n_rows, RANDOM) in arms
    ]
    for arm in (arm for arm in trained if arm.method == main):
        others = [o for o in trained if o.method != main and o.n_rows == arm.n_rows]
        others += [o for o in results.arms if o.method in (ZERO_SHOT, "full")]
        pairs += [(main, arm, other) for other in others if other != arm]
    return pairs


def _differences(results: Results, main: str, *, draws: int, seed: int) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    measures: list[tuple[str, Sequence[Sequence[str]] | None]] = [("loss", None)]
    if results.scored_tasks():
        measures = [("score", None), ("capability", results.groups()), *measures]
    n_measures = len(measures) // 2 + any(results.losses.values())
    for of, groups in measures:
        kind = "loss" if of == "loss" else "score"
        pairs = [
            (pair, values)
            for pair in _pairs(results, main)
            if _n_seeds(values := results.differences(*pair[1:], of=kind))
        ]
        intervals = paired_intervals(
            [values for _, values in pairs], groups=groups, draws=draws, seed=seed
        )
        rows += [
            {
                "family": family, "of": of, "method": first.method, "n_rows": first.n_rows,
                "other": second.method, "other_rows": second.n_rows,
                **_means(results, first, second, kind, groups), "value": found.value,
                "low": found.low, "high": found.high, "p_value": found.p_value,
                "n_rows_tested": found.n_rows, "n_seeds": found.n_seeds,
                **_needed(values, n_measures=n_measures),
            }
            for ((family, first, second), values), found in zip(pairs, intervals, strict=True)
        ]  # fmt: skip
    return _adjusted(pd.DataFrame(rows))


def _means(
    results: Results, first: Arm, second: Arm, kind: str, groups: Sequence[Sequence[str]] | None
) -> dict[str, float]:
    """Return the average over tasks of both arms, over the seeds that both finished."""
    pairs = results.pairs(first, second, of=kind)
    weights = task_weights(list(pairs), groups)
    return {
        name: float(sum(weights[task] * pair[place].mean() for task, pair in pairs.items()))
        for place, name in enumerate(("own", "others"))
    }


def _needed(values: Mapping[str, npt.NDArray[np.float64]], *, n_measures: int) -> dict[str, float]:
    """Return how many rows or seeds would decide, if only these two were compared."""
    found = needed(values, level=LEVEL / n_measures)
    return {
        "needed_rows": math.nan if found is None or found.rows is None else found.rows,
        "needed_seeds": math.nan if found is None or found.seeds is None else found.seeds,
    }


def _adjusted(frame: pd.DataFrame) -> pd.DataFrame:
    if frame.empty:
        return frame
    frame["p_holm"] = np.nan
    for _, part in frame.groupby([frame["family"], frame["of"] == "capability"]):
        frame.loc[part.index, "p_holm"] = holm(part["p_value"].tolist())
    return frame


def _told(frame: pd.DataFrame, arms: pd.DataFrame, floor: float) -> pd.DataFrame:
    """Add column `tells`: of two scores, at least one must be above the majority score."""
    if frame.empty:
        return frame
    low = {}
    if "low" in arms:
        low = dict(zip(zip(arms["method"], arms["n_rows"], strict=True), arms["low"], strict=True))
    floor += 1e-9  # the same terms summed in another order
    frame["tells"] = [
        row["of"] == "loss"
        or low[row["method"], row["n_rows"]] > floor
        or low[row["other"], row["other_rows"]] > floor
        for row in frame.to_dict(orient="records")
    ]
    return frame


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _n_seeds(differences: dict[str, Any]) -> int:
    return min((len(values) for values in differences.values()), default=0)


def _tasks(results: Results) -> pd.DataFrame:
    rows = []
    for arm in results.arms:
        for task, capability in results.capabilities.items():
            score, loss = results.scores[arm].get(task), results.losses[arm].get(task)
            rows.append(
                {
                    "method": arm.method, "n_rows": arm.n_rows, "task": task,
                    "capability": capability,
                    "n": results.n_rows(task),
                    "majority": results.majority.get(task, math.nan),
                    "score": math.nan if score is None else float(score.mean()),
                    "answer_loss": math.nan if loss is None else float(loss.mean()),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def suite_table(tasks: pd.DataFrame, members: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Return each arm's macro averages over the tasks of each suite, as in the papers.

    Args:
        tasks: of a comparison.
        members: tasks of each suite; those that were not evaluated are left out.

    Returns:
        One row per suite and arm: suite, method, n_rows, n_tasks, of (how many tasks the suite
        has), macro (mean over tasks), macro_capability (mean over tasks within each capability,
        then over capabilities).
    """
    rows = []
    for suite, names in members.items():
        part = tasks[tasks["task"].isin(list(names))].dropna(subset=["score"])
        for key, mine in part.groupby(["n_rows", "method"], sort=True):
            n_rows, method = cast("tuple[int, str]", key)
            rows.append(
                {
                    "suite": suite, "method": method, "n_rows": int(n_rows), "n_tasks": len(mine),
                    "of": len(names), "macro": float(mine["score"].mean()),
                    "macro_capability": float(mine.groupby("capability")["score"].mean().mean()),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)
