"""The score of every test row of a run or comparison, as input for `bids_core.comparison`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bids_core.comparison import Comparison, Results, Verdict, compare, judge
from bids_core.data import read_table
from bids_core.errors import ArtifactError
from bids_core.selection.names import ZERO_SHOT
from tasks.evaluation import SAMPLES, SCORES
from tasks.selection import read_selection

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from bids_core.artifacts import Handle
    from tasks.run_result import RunResult

NO_SEED = -1
"""Seed recorded for the base model, which was not trained."""


def arm_samples(scores: Handle, *, method: str, n_rows: int, seed: int) -> pd.DataFrame:
    """Return one row per test row of an evaluation.

    Args:
        scores: the evaluation.
        method: the one that selected the training rows, or `zero_shot`.
        n_rows: training rows.
        seed: of the fine-tuning.
    """
    samples = read_table(scores.path() / SAMPLES)
    reported = read_table(scores.path() / SCORES).set_index("task")["score"]
    return pd.DataFrame(
        {
            "method": method,
            "n_rows": n_rows,
            "seed": seed,
            "task": samples["task"],
            "row_id": samples["row_id"],
            "score": row_scores(samples, reported),
            "answer_loss": samples["answer_loss"],
            "prediction": samples["prediction"],
        }
    )


def row_scores(samples: pd.DataFrame, reported: pd.Series[float]) -> npt.NDArray[np.float64]:
    """Return the score of each row, scaled so that a task's plain mean is its reported score.

    Some tasks in suites (TyDi QA) report the mean over their parts, not over their rows.

    Args:
        samples: of an evaluation.
        reported: the reported score of each task.

    Raises:
        ArtifactError: the rows do not add up to the reported score.
    """
    column = samples["score"] if "score" in samples else samples["correct"]
    scores = np.array(
        column.astype("Float64").to_numpy(dtype="float64", na_value=math.nan), dtype=np.float64
    )
    for name, score in reported.items():
        rows = (samples["task"] == name).to_numpy()
        unjudged = bool(np.isnan(scores[rows]).any())  # answers that ended while still reasoning
        if math.isnan(score) or unjudged or math.isclose(scores[rows].mean(), score, abs_tol=1e-6):
            continue
        parts = samples.loc[rows, "part"] if "part" in samples else pd.Series("", index=[0])
        sizes = parts.map(parts.value_counts()).to_numpy(dtype="float64")
        if len(sizes) == rows.sum():
            scores[rows] *= rows.sum() / (sizes * parts.nunique())
        if not math.isclose(scores[rows].mean(), score, abs_tol=1e-6):
            msg = (
                f"task {name}: the mean of its rows does not equal its score, {score:g}; "
                "evaluate it again"
            )
            raise ArtifactError(msg)
    return scores


def results_of(samples: pd.DataFrame, evaluations: Iterable[Handle]) -> Results:
    """Return the results of some evaluations; the tasks' facts are those of the first.

    Args:
        samples: `arm_samples` of all of them, concatenated.
        evaluations: at least one.
    """
    tasks: dict[str, dict[str, Any]] = {}
    for handle in evaluations:
        scores = read_table(handle.path() / SCORES)
        for row in scores.to_dict(orient="records"):
            tasks.setdefault(str(row["task"]), {str(k): v for k, v in row.items()})
    return Results.of(
        samples,
        {name: str(row["capability"]) for name, row in tasks.items()},
        {name: float(row["majority"]) for name, row in tasks.items()},
    )


def run_comparison(result: RunResult) -> Comparison | None:
    """Return a run's evaluations as a comparison with one budget and one seed; None without any."""
    if not result.scores:
        return None
    parts = []
    for method, scores in result.scores.items():
        n_rows = seed = 0
        if method == ZERO_SHOT:
            seed = NO_SEED
        else:
            n_rows = len(read_selection(result.selections[method]))
        parts.append(arm_samples(scores, method=method, n_rows=n_rows, seed=seed))
    samples = pd.concat(parts, ignore_index=True)
    main = next(iter(result.selections), ZERO_SHOT)
    return compare(results_of(samples, result.scores.values()), main)


def run_verdict(result: RunResult) -> Verdict | None:
    """Return the verdict on a run's evaluations; None without any."""
    comparison = run_comparison(result)
    return None if comparison is None else judge(comparison)
