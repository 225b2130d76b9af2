"""Do picks serve a model other than the one that chose them?

A model with hidden size 64 and 2 layers chooses. Its picks are used to fine-tune itself, a model of
the same shape pretrained from another start, and one with hidden size 96 and 3 layers; these two
also choose for themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from controlled_lab.arms import pick
from controlled_lab.summary import interval
from controlled_lab.world import World

if TYPE_CHECKING:
    from typing import Any

POOLS = ("half_off_target", "wrong_answers")
ARMS = ("random", "less", "bids", "bids_cautious")
SIZE = 80
TARGETS = {"itself": {}, "another start": {"seed": 500}, "larger": {"hidden": 96, "layers": 3}}


def run(seed: int) -> list[dict[str, Any]]:
    """Return a row for each pool, target model, chooser and method: loss, and overlap of picks."""
    found = []
    for name in POOLS:
        world = World.of(name, seed)
        small = world.evidence(world.model())
        lent = {arm: pick(arm, SIZE, world.pool, small, seed=seed) for arm in ARMS}
        for target, options in TARGETS.items():
            options = dict(options)
            if "seed" in options:
                options["seed"] += seed
            base = world.model(**options)
            own = lent
            if target != "itself":
                evidence = world.evidence(base)
                own = {arm: pick(arm, SIZE, world.pool, evidence, seed=seed) for arm in ARMS}
            jobs = [("the small model", arm, lent[arm]) for arm in ARMS]
            if target != "itself":
                jobs += [("itself", arm, own[arm]) for arm in ARMS if arm != "random"]
            losses = world.losses(base, [rows for _, _, rows in jobs]).mean(1)
            found += [
                {
                    "seed": seed,
                    "pool": name,
                    "target": target,
                    "chooser": chooser,
                    "method": arm,
                    "loss": float(loss),
                    "overlap": len(np.intersect1d(rows, own[arm])) / SIZE,
                }
                for (chooser, arm, rows), loss in zip(jobs, losses, strict=True)
            ]
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Return the loss minus that of random, and the overlap with the target's own picks."""
    lines = []
    seeds = sorted({row["seed"] for row in rows})
    for pool in POOLS:
        lines += [
            f"### {pool} (n={len(seeds)})",
            "",
            "| fine-tuned | chosen by | method | loss minus random | overlap with its own picks |",
            "| --- | --- | --- | --- | --- |",
        ]
        part = [row for row in rows if row["pool"] == pool]
        for target in TARGETS:
            random = {
                row["seed"]: row["loss"]
                for row in part
                if row["target"] == target and row["method"] == "random"
            }
            for chooser in ("the small model", "itself"):
                for arm in ARMS[1:]:
                    here = [
                        row
                        for row in part
                        if (row["target"], row["chooser"], row["method"]) == (target, chooser, arm)
                    ]
                    if not here:
                        continue
                    mean, half = interval([row["loss"] - random[row["seed"]] for row in here])
                    overlap = float(np.mean([row["overlap"] for row in here]))
                    lines.append(
                        f"| {target} | {chooser} | {arm} | {mean:+.3f} ± {half:.3f}"
                        f" | {overlap:.0%} |"
                    )
        lines.append("")
    return "\n".join(lines)
