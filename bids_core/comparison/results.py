"""The input of a comparison: the score of every test row, by method, budget and seed.

Shapes: S seeds, n test rows of a task.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from bids_core.errors import DataError
from bids_core.selection.names import ZERO_SHOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import pandas as pd

logger = logging.getLogger(__name__)

RANDOM: Final = "random"
"""The method that all others are compared with."""


@dataclass(frozen=True, slots=True, order=True)
class Arm:
    """One method at one budget; zero rows is the base model."""

    n_rows: int
    method: str


@dataclass(frozen=True)
class Results:
    """The scores of all test rows, for all arms.

    Args:
        arms: those with at least one finished seed, small budgets first.
        capabilities: capability of each task, in the order of the configuration.
        seeds: finished seeds of each arm.
        scores: by arm and scored task, [S, n], in the order of `seeds` and of the test rows.
        losses: likewise the answer loss, for the tasks that have one.
        majority: for the tasks that have one, the score of always giving the most frequent answer.
    """

    arms: tuple[Arm, ...]
    capabilities: Mapping[str, str]
    seeds: Mapping[Arm, tuple[int, ...]]
    scores: Mapping[Arm, Mapping[str, npt.NDArray[np.float64]]]
    losses: Mapping[Arm, Mapping[str, npt.NDArray[np.float64]]]
    majority: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        samples: pd.DataFrame,
        capabilities: Mapping[str, str],
        majority: Mapping[str, float] | None = None,
    ) -> Results:
        """Read a table of samples.

        Args:
            samples: columns method, n_rows, seed, task, row_id, score and answer_loss (NaN where
                the task has none); one row per test row and finished cell.
            capabilities: capability of each task.
            majority: score of always giving a task's most frequent answer; missing or NaN for tasks
                without one.

        Raises:
            DataError: two cells did not answer the same test rows, or a task has values for some
                arms only.
        """
        seeds: dict[Arm, tuple[int, ...]] = {}
        scores: dict[Arm, dict[str, npt.NDArray[np.float64]]] = {}
        losses: dict[Arm, dict[str, npt.NDArray[np.float64]]] = {}
        reference: dict[str, list[str]] = {}
        for key, part in samples.groupby(["n_rows", "method"], sort=True):
            n_rows, method = cast("tuple[int, str]", key)
            arm = Arm(int(n_rows), method)
            seeds[arm] = tuple(sorted({int(seed) for seed in part["seed"]}))
            scores[arm], losses[arm] = {}, {}
            for task in capabilities:
                rows = part[part["task"] == task]
                for name, tables in (("score", scores[arm]), ("answer_loss", losses[arm])):
                    if not len(rows) or rows[name].isna().any():
                        continue  # a task may have a score, an answer loss, or both
                    table = rows.pivot_table(
                        index="seed", columns="row_id", values=name, aggfunc="first"
                    )
                    ids = reference.setdefault(task, list(table.columns))
                    if list(table.columns) != ids or bool(table.isna().to_numpy().any()):
                        msg = (
                            f"comparison: {method} at {n_rows} rows did not answer the same test "
                            f"rows of task {task} as the others; remove its evaluation and run "
                            "again"
                        )
                        raise DataError(msg)
                    tables[task] = table.to_numpy(dtype=np.float64)
        _leave_out_unjudged(scores, samples)
        _refuse_gaps(scores, "score")
        _refuse_gaps(losses, "answer loss")
        known = {k: v for k, v in (majority or {}).items() if not math.isnan(v)}
        return cls(tuple(sorted(seeds)), dict(capabilities), seeds, scores, losses, known)

    def budgets(self) -> list[int]:
        """Return the numbers of training rows, ascending, without the base model's zero."""
        return sorted({arm.n_rows for arm in self.arms if arm.n_rows})

    def scored_tasks(self) -> list[str]:
        """Return the tasks that have a score."""
        return [name for name in self.capabilities if any(name in s for s in self.scores.values())]

    def n_rows(self, task: str) -> int:
        """Return how many test rows a task has."""
        tables = [*self.scores.values(), *self.losses.values()]
        return next((table[task].shape[1] for table in tables if task in table), 0)

    def groups(self) -> list[list[str]]:
        """Return the scored tasks of each capability."""
        found: dict[str, list[str]] = {}
        for name in self.scored_tasks():
            found.setdefault(self.capabilities[name], []).append(name)
        return list(found.values())

    def task_means(self, arm: Arm) -> dict[str, float]:
        """Return the mean score of each scored task over seeds and rows."""
        return {name: float(values.mean()) for name, values in self.scores[arm].items()}

    def differences(
        self, first: Arm, second: Arm, *, of: str = "score"
    ) -> dict[str, npt.NDArray[np.float64]]:
        """Return first minus second for each task, [S, n], over the seeds that both finished.

        The base model has no seed: it is compared with each seed of the other.

        Args:
            first: an arm.
            second: another one.
            of: `score` or `loss`.
        """
        return {name: a - b for name, (a, b) in self.pairs(first, second, of=of).items()}

    def pairs(
        self, first: Arm, second: Arm, *, of: str = "score"
    ) -> dict[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
        """Return both arms' values for each task, [S, n] each, over the seeds both finished."""
        tables = self.scores if of == "score" else self.losses
        rows = self._common(first, second)
        return {
            name: (tables[first][name][rows[0]], tables[second][name][rows[1]])
            for name in tables[first]
        }

    def floor(self) -> float:
        """Return the macro average of always giving each scored task's most frequent answer.

        A task whose answers have none counts as 0: any score there is above it.
        """
        tasks = self.scored_tasks()
        return float(np.mean([self.majority.get(name, 0.0) for name in tasks])) if tasks else 0.0

    def _common(self, first: Arm, second: Arm) -> tuple[list[int], list[int]]:
        a, b = self.seeds[first], self.seeds[second]
        if ZERO_SHOT in (first.method, second.method):
            n = max(len(a), len(b))
            return (
                [0] * n if len(a) < n else list(range(n)),
                [0] * n if len(b) < n else list(range(n)),
            )
        shared = [seed for seed in a if seed in b]
        return [a.index(seed) for seed in shared], [b.index(seed) for seed in shared]


def _leave_out_unjudged(
    scores: Mapping[Arm, dict[str, npt.NDArray[np.float64]]], samples: pd.DataFrame
) -> None:
    """Drop, for all arms, the scores of tasks that have unjudged answers.

    Those answers ended inside a thought; scores over different rows are not comparable.
    """
    unjudged = set(samples.loc[samples["score"].isna(), "task"])
    scored = {name for tables in scores.values() for name in tables}
    for name in sorted(unjudged & scored):
        logger.warning(
            "comparison: task %s is left out of the scores, because some answers ended "
            "inside a thought and cannot be judged; raise its max_new_tokens",
            name,
        )
        for tables in scores.values():
            tables.pop(name, None)


def _refuse_gaps(tables: Mapping[Arm, Mapping[str, npt.NDArray[np.float64]]], what: str) -> None:
    """Raise where a task has values for some arms and not for others."""
    for task in dict.fromkeys(name for table in tables.values() for name in table):
        for arm, table in tables.items():
            if task not in table:
                msg = (
                    f"comparison: {arm.method} at {arm.n_rows} rows has no {what} on every test "
                    f"row of task {task}, which the others have; remove its evaluation and run "
                    "again"
                )
                raise DataError(msg)
