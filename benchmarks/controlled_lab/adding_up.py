"""Is the influence of a set the sum of its rows' influence?

For subsets S of equal size, P_S is sum_{i in S} A_ij averaged over a task's instances j and then
over tasks, and G_S is the reduction in mean test loss relative to the base model. Random subsets
differ little in P; tilted ones take a share of their rows from those with the highest mean
influence, the rest at random, and reach as far as a selection. If effects add up, a line through
the random subsets passes through the tilted ones; if they saturate, it is above them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import spearmanr

from bids_core.selection import select
from controlled_lab.summary import interval
from controlled_lab.world import World

if TYPE_CHECKING:
    from typing import Any

    import numpy.typing as npt

POOLS = ("half_off_target", "wrong_answers")
SIZE = 80
"""Rows of a subset: 10% of the pool."""
N_RANDOM = 48
TILTS = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
N_TILTED = 4
"""Subsets for each tilt."""


def run(seed: int) -> list[dict[str, Any]]:
    """Return a row for each subset: pool, kind, tilt, summed influence, reduction in loss."""
    found = []
    for name in POOLS:
        world = World.of(name, seed)
        base = world.model()
        evidence = world.evidence(base)
        matrix = evidence.matrices["adam"].astype(np.float64)
        tasks = np.array(evidence.instance_tasks)
        by_task = np.stack([matrix[:, tasks == task].mean(1) for task in world.pool.targets], 1)
        rng = np.random.default_rng([seed, 4000])
        kinds = [("random", 0.0, rng.permutation(len(matrix))[:SIZE]) for _ in range(N_RANDOM)]
        kinds += [
            ("tilted", tilt, tilted(by_task.mean(1), tilt, rng))
            for tilt in TILTS
            for _ in range(N_TILTED)
        ]
        for method in ("less", "bids"):
            picks = select(matrix, SIZE, method=method, tasks=evidence.instance_tasks).indices
            kinds.append((method, float("nan"), picks))
        before = world.losses(base, [np.empty(0, dtype=np.int64)])[0].mean()
        after = world.losses(base, [rows for _, _, rows in kinds]).mean(1)
        found += [
            {
                "seed": seed,
                "pool": name,
                "kind": kind,
                "tilt": None if np.isnan(tilt) else tilt,
                "influence": float(by_task[rows].sum(0).mean()),
                "gain": float(before - loss),
            }
            for (kind, tilt, rows), loss in zip(kinds, after, strict=True)
        ]
    return found


def tilted(
    worth: npt.NDArray[np.float64], tilt: float, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return a subset with a share `tilt` of its rows from the top rows, 1.5 times a subset."""
    best = np.argsort(-worth, kind="stable")[: SIZE * 3 // 2]
    chosen = rng.choice(best, round(tilt * SIZE), replace=False)
    left = np.setdiff1d(np.arange(len(worth)), chosen)
    return rng.permutation(
        np.concatenate([chosen, rng.choice(left, SIZE - len(chosen), replace=False)])
    )


def table(rows: list[dict[str, Any]]) -> str:
    """Return the answer in words and numbers, intervals over seeds."""
    lines = []
    for pool in POOLS:
        lines.append(f"### {pool}")
        seeds = sorted({row["seed"] for row in rows})
        parts = [
            [row for row in rows if row["pool"] == pool and row["seed"] == seed] for seed in seeds
        ]
        lds, slopes = zip(*(_line(part) for part in parts), strict=True)
        mean, half = interval(lds)
        lines.append(
            f"rank correlation over random subsets: {mean:.2f} ± {half:.2f} (n={len(seeds)})"
        )
        lines += [
            "",
            "| subsets | summed influence, in deviations | gain, nats | of what the line says |",
            "| --- | --- | --- | --- |",
        ]
        groups = [
            ("random", 0.0),
            *(("tilted", tilt) for tilt in TILTS),
            ("less", None),
            ("bids", None),
        ]
        for kind, tilt in groups:
            figures = [
                _group(part, slope, kind, tilt) for part, slope in zip(parts, slopes, strict=True)
            ]
            told = [
                f"{m:.2f} ± {h:.2f}"
                for m, h in (interval(list(c)) for c in zip(*figures, strict=True))
            ]
            name = kind if tilt in (None, 0.0) else f"{tilt:.0%} from the best"
            lines.append(f"| {name} | {' | '.join(told)} |")
        lines.append("")
    return "\n".join(lines)


def _line(part: list[dict[str, Any]]) -> tuple[float, tuple[float, float, float, float]]:
    """Return the LDS over random subsets, and the means, deviation and slope of their line."""
    x, y = (
        np.array([row[key] for row in part if row["kind"] == "random"])
        for key in ("influence", "gain")
    )
    slope = float(np.cov(x, y)[0, 1] / x.var(ddof=1))
    return float(spearmanr(x, y).statistic), (x.mean(), x.std(ddof=1), y.mean(), slope)


def _group(
    part: list[dict[str, Any]],
    line: tuple[float, float, float, float],
    kind: str,
    tilt: float | None,
) -> tuple[float, float, float]:
    """Return a group's position in deviations, its gain over random, and the line's gain."""
    mean_x, deviation, mean_y, slope = line
    chosen = [row for row in part if row["kind"] == kind and row["tilt"] == tilt]
    x = np.mean([row["influence"] for row in chosen])
    gain = float(np.mean([row["gain"] for row in chosen]) - mean_y)
    said = slope * (x - mean_x)
    share = gain / said if kind != "random" else float("nan")
    return float((x - mean_x) / deviation), gain, float(share)
