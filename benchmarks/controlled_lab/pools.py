"""Pools with known truth: for every row, whether it should be picked.

All pools have 800 rows, so that the fine-tuning runs of a budget can be trained in parallel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from controlled_lab.problems import (
    OTHERS,
    TARGETS,
    TASKS,
    Row,
    draw,
    draw_broken,
    draw_wrong,
    near_duplicates,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

N_ROWS = 800
UNBALANCED = (160, 100, 60, 40, 25, 15)
"""Shares of the six target tasks among the clean rows, of 400."""


@dataclass(frozen=True)
class Pool:
    """A pool and its targets.

    Args:
        name: one of `POOLS`.
        rows: N_ROWS of them, in random order.
        targets: the tasks that validation and test ask for.
    """

    name: str
    rows: list[Row]
    targets: tuple[str, ...]


def shares(count: int, weights: Sequence[int]) -> list[int]:
    """Return integers that sum to `count`, in proportion to the weights."""
    exact = count * np.array(weights) / sum(weights)
    found = np.floor(exact).astype(int)
    for place in np.argsort(found - exact, kind="stable")[: count - found.sum()]:
        found[place] += 1
    return [int(n) for n in found]


def clean(count: int, rng: np.random.Generator, weights: Sequence[int] = UNBALANCED) -> list[Row]:
    """Return rows of the target tasks with correct answers."""
    parts = zip(TARGETS, shares(count, weights), strict=False)
    return [row for task, number in parts for row in draw(task, number, rng)]


def off_target(count: int, rng: np.random.Generator) -> list[Row]:
    """Return rows of the other tasks with correct answers."""
    parts = zip(OTHERS, shares(count, [1] * len(OTHERS)), strict=True)
    return [row for task, number in parts for row in draw(task, number, rng, "off_target")]


def wrong(count: int, rng: np.random.Generator) -> list[Row]:
    """Return rows of the target tasks with the answer to another question."""
    parts = zip(TARGETS, shares(count, [1] * len(TARGETS)), strict=True)
    return [row for task, number in parts for row in draw_wrong(task, number, rng)]


def _near_duplicates(rng: np.random.Generator) -> list[Row]:
    """Return 200 clean rows, 25 near-duplicates of each of 8 others, 400 off target."""
    originals = draw("copy", 4, rng) + draw("reverse", 4, rng)
    copies = [row for original in originals for row in near_duplicates(original, 25, rng)]
    return clean(200, rng) + copies + off_target(400, rng)


def broken(count: int, rng: np.random.Generator) -> list[Row]:
    """Return rows of all twelve tasks with one and the same answer."""
    parts = zip(TASKS, shares(count, [1] * len(TASKS)), strict=True)
    return [row for task, number in parts for row in draw_broken(task, number, rng)]


POOLS: dict[str, Callable[[np.random.Generator], list[Row]]] = {
    "all_target": lambda rng: clean(N_ROWS, rng),
    "half_off_target": lambda rng: clean(400, rng) + off_target(400, rng),
    "wrong_answers": lambda rng: clean(268, rng) + off_target(266, rng) + wrong(266, rng),
    "near_duplicates": _near_duplicates,
    "dominating_source": lambda rng: (
        clean(680, rng, (560, 24, 24, 24, 24, 24)) + off_target(120, rng)
    ),
    "skewed": lambda rng: clean(72, rng, [1] * 6) + off_target(48, rng) + broken(680, rng),
    "bimodal": lambda rng: (
        clean(400, rng, (24, 24, 280, 24, 24, 24)) + draw_broken("sort", 400, rng)
    ),
}
"""Composition of each pool; only `half_off_target` is half off target and nothing else."""


def make_pool(name: str, seed: int) -> Pool:
    """Return a pool; another seed gives other rows of the same kinds."""
    rng = np.random.default_rng([seed, list(POOLS).index(name)])
    rows = POOLS[name](rng)
    order = rng.permutation(N_ROWS)
    return Pool(name, [rows[place] for place in order], tuple(TARGETS))
