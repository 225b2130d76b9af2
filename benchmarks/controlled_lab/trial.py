"""One seed of the benchmark, from the pretraining to the rows of results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from bids_core.diagnostics import aid_imbalance, aid_table
from bids_core.selection import resolve_budget
from controlled_lab.arms import FULL, ORACLES, ZERO_SHOT, needed_estimators, pick
from controlled_lab.audit import audit_rows
from controlled_lab.columns import column_shapes
from controlled_lab.evidence import gather, token_rows, warm_up
from controlled_lab.model import Stack, pretrained
from controlled_lab.pools import N_ROWS, Pool, make_pool
from controlled_lab.problems import TARGETS, draw

if TYPE_CHECKING:
    from typing import Any

    import numpy.typing as npt
    from transformers import LlamaForCausalLM

    from controlled_lab.evidence import Evidence

KINDS = ("clean", "off_target", "wrong", "duplicate")
SIDE_BY_SIDE = 32
"""Adapters trained at once; more would be no faster on one core."""


@dataclass(frozen=True)
class Settings:
    """Settings of one run of the benchmark; the defaults are those of docs/results.

    Args:
        pools: names from `POOLS`.
        arms: labels, see `controlled_lab.arms`.
        budgets: fractions of the pool.
        instances: validation instances of a task.
        test_rows: test rows of a task.
        pretraining_steps: of the base model.
        warmup_share: part of the pool that the warmup trains on.
        warmup_epochs: epochs of the warmup, with a checkpoint after each.
        epochs: of the fine-tuning.
        lr: learning rate of warmup and fine-tuning.
    """

    pools: tuple[str, ...]
    arms: tuple[str, ...]
    budgets: tuple[float, ...] = (0.01, 0.03, 0.05, 0.1, 0.2)
    instances: int = 10
    test_rows: int = 64
    pretraining_steps: int = 120
    warmup_share: float = 0.25
    warmup_epochs: int = 2
    epochs: int = 8
    lr: float = 3e-3


@dataclass(frozen=True)
class Job:
    """One fine-tuning: an arm's picks from a pool at a budget."""

    pool: str
    arm: str
    budget: float
    picks: npt.NDArray[np.int64]


def run(seed: int, settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """Return the results of one seed: `rows`, `columns` and `audit`."""
    rng = np.random.default_rng([seed, 1000])
    base = pretrained(seed, rng, steps=settings.pretraining_steps)
    validation = {task: draw(task, settings.instances, rng) for task in TARGETS}
    test = torch.cat([token_rows(draw(task, settings.test_rows, rng)) for task in TARGETS])
    pools = {name: make_pool(name, seed) for name in settings.pools}
    warm = warm_up(
        base, list(pools.values()), share=settings.warmup_share, epochs=settings.warmup_epochs,
        lr=settings.lr, seed=seed,
    )  # fmt: skip
    evidence = {
        pool.name: gather(
            base, pool, [row for task in pool.targets for row in validation[task]], checkpoints,
            estimators=needed_estimators(settings.arms),
        )
        for pool, checkpoints in zip(pools.values(), warm, strict=True)
    }  # fmt: skip
    jobs = [
        job
        for name, pool in pools.items()
        for arm in settings.arms
        for job in jobs_of(arm, pool, evidence[name], settings.budgets, seed)
    ]
    tokens = {name: token_rows(pool.rows) for name, pool in pools.items()}
    losses = test_losses(base, jobs, tokens, test, settings, seed)
    return {
        "rows": [
            result(job, pools[job.pool], evidence[job.pool], of_tasks, seed)
            for job, of_tasks in zip(jobs, losses, strict=True)
        ],
        "columns": [
            {"pool": name, "seed": seed, **column_shapes(found.matrices["adam"])}
            for name, found in evidence.items()
        ],
        "audit": [
            {"pool": name, "seed": seed, **row}
            for name, pool in pools.items()
            for row in audit_rows(pool, evidence[name])
        ],
    }


def jobs_of(
    arm: str, pool: Pool, evidence: Evidence, budgets: tuple[float, ...], seed: int
) -> list[Job]:
    """Return an arm's fine-tuning jobs; picks are nested, so one selection serves all budgets."""
    if arm == ZERO_SHOT:
        return [Job(pool.name, arm, 0.0, np.empty(0, dtype=np.int64))]
    if arm == FULL:
        return [Job(pool.name, arm, 1.0, np.arange(N_ROWS))]
    counts = {budget: resolve_budget(budget, N_ROWS) for budget in budgets}
    picks = pick(arm, max(counts.values()), pool, evidence, seed=seed)
    # An oracle cannot pick more than the clean rows.
    reach = len(picks) if arm in ORACLES else N_ROWS
    return [
        Job(pool.name, arm, budget, picks[:count])
        for budget, count in counts.items()
        if count <= reach
    ]


def test_losses(
    base: LlamaForCausalLM,
    jobs: list[Job],
    tokens: dict[str, torch.Tensor],
    test: torch.Tensor,
    settings: Settings,
    seed: int,
) -> npt.NDArray[np.float64]:
    """Fine-tune for every job and return its mean test loss on each task, [jobs, tasks]."""
    same: dict[tuple[str, bytes], list[int]] = {}  # some arms pick the same rows in the same order
    for place, job in enumerate(jobs):
        same.setdefault((job.pool, job.picks.tobytes()), []).append(place)
    by_count: dict[int, list[int]] = {}
    for places in same.values():
        by_count.setdefault(len(jobs[places[0]].picks), []).append(places[0])
    found = np.empty((len(jobs), len(TARGETS)))
    for count, places in by_count.items():
        for first in range(0, len(places), SIDE_BY_SIDE):
            part = places[first : first + SIDE_BY_SIDE]
            stack = Stack(base, len(part), seed=seed)
            if count:
                rows = torch.stack([tokens[jobs[place].pool][jobs[place].picks] for place in part])
                stack.fine_tune(rows, epochs=settings.epochs, lr=settings.lr, seed=seed)
            losses = stack.test_losses(test).view(len(part), len(TARGETS), -1)
            found[part] = losses.mean(2).numpy()
    for places in same.values():
        found[places] = found[places[0]]
    return found


def result(
    job: Job, pool: Pool, evidence: Evidence, of_tasks: npt.NDArray[np.float64], seed: int
) -> dict[str, Any]:
    """Return one row of the results."""
    losses = dict(zip(TARGETS, of_tasks.tolist(), strict=True))
    losses = {task: losses[task] for task in pool.targets}
    kinds = [pool.rows[row].kind for row in job.picks]
    tasks = [pool.rows[row].task for row in job.picks if pool.rows[row].kind != "wrong"]
    found = {
        "pool": job.pool,
        "method": job.arm,
        "budget": job.budget,
        "picks": len(job.picks),
        "seed": seed,
        "loss": float(np.mean(list(losses.values()))),
        "worst_task": max(losses.values()),
        "losses": losses,
    }
    if kinds:
        table = aid_table(evidence.matrices["adam"], job.picks, tasks=evidence.instance_tasks)
        found["aid_imbalance"] = aid_imbalance(table)
        found |= {f"share_{kind}": kinds.count(kind) / len(kinds) for kind in KINDS}
        found["picks_a_task"] = {task: tasks.count(task) for task in pool.targets}
    return found
