"""Do scores other than influence favour some tasks?

With each score, rows are picked by their highest value on any one instance (instance-max, from
which BIDS starts), raw and with normalised columns, and by BIDS's loop. A picked row counts for the
task of the instance that won it (THI). Measures: the largest task's share of the picks (balanced: a
sixth), how many tasks are starved (less than a third of an equal share), and the imbalance of AID
in the same score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bids_core.diagnostics import aid_imbalance, aid_table
from bids_core.selection import bm25_scores, select
from controlled_lab.summary import interval
from controlled_lab.world import World

if TYPE_CHECKING:
    from typing import Any

POOLS = ("half_off_target", "dominating_source")
SIZE = 80
WAYS = {
    "instance-max": {"method": "instance_max", "normalization": "none"},
    "instance-max, normalised": {"method": "instance_max"},
    "BIDS": {"method": "bids"},
}
SCORES = ("influence", "RDS+", "BM25")


def run(seed: int) -> list[dict[str, Any]]:
    """Return a row for each pool, score and way of picking."""
    found = []
    for name in POOLS:
        world = World.of(name, seed)
        evidence = world.evidence(world.model())
        n_rows = len(world.pool.rows)
        states = evidence.states["rds_plus"]
        units = states / np.linalg.norm(states, axis=1, keepdims=True)
        matrices = {
            "influence": evidence.matrices["adam"],
            "RDS+": units[:n_rows] @ units[n_rows:].T,
            "BM25": bm25_scores(evidence.texts[:n_rows], evidence.texts[n_rows:]),
        }
        tasks = evidence.instance_tasks
        for score, matrix in matrices.items():
            for way, options in WAYS.items():
                picks = select(matrix, SIZE, tasks=tasks, **options)
                winners = [tasks[column] for column in picks.winning_columns if column >= 0]
                counts = np.array([winners.count(task) for task in world.pool.targets])
                fair = SIZE / len(counts)
                found.append(
                    {
                        "seed": seed,
                        "pool": name,
                        "score": score,
                        "way": way,
                        "largest": float(counts.max() / SIZE),
                        "starved": int((counts < fair / 3).sum()),
                        "aid_imbalance": aid_imbalance(
                            aid_table(matrix, picks.indices, tasks=tasks)
                        ),
                        "clean": float(
                            np.mean([world.pool.rows[row].kind == "clean" for row in picks.indices])
                        ),
                    }
                )
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Return means over seeds with intervals."""
    lines = []
    seeds = sorted({row["seed"] for row in rows})
    for pool in POOLS:
        lines += [
            f"### {pool} (n={len(seeds)})",
            "",
            "| score | picks by | largest task | starved tasks | imbalance of AID | on target |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for score in SCORES:
            for way in WAYS:
                here = [
                    row for row in rows
                    if (row["pool"], row["score"], row["way"]) == (pool, score, way)
                ]  # fmt: skip
                told = []
                for key, shape in (
                    ("largest", ".0%"),
                    ("starved", ".1f"),
                    ("aid_imbalance", ".2f"),
                    ("clean", ".0%"),
                ):
                    mean, half = interval([row[key] for row in here])
                    told.append(f"{mean:{shape}} ± {half:{shape}}")
                lines.append(f"| {score} | {way} | {' | '.join(told)} |")
        lines.append("")
    return "\n".join(lines)
