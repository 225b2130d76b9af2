"""The arms of the benchmark: every way to pick rows, by the label of its results.

A label is `METHOD`, `METHOD:NORMALIZATION` or `METHOD@ESTIMATOR`: the method of
`bids_core.selection.select`, a normalisation other than its default, an influence estimator other
than Adam's. `try_...` are variants of BIDS that are not in the library. References that know the
truth or pick nothing have their own labels.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_core.normalization import ColumnWarning
from bids_core.selection import METHODS, select
from controlled_lab.candidates import CANDIDATES, pick_candidate

if TYPE_CHECKING:
    import numpy.typing as npt

    from controlled_lab.evidence import Evidence
    from controlled_lab.pools import Pool

Ints = "npt.NDArray[np.int64]"

ZERO_SHOT, FULL = "zero_shot", "full"
ORACLES = ("clean_random", "clean_balanced")
"""References that know which rows are clean: drawn at random, and equally from each task."""
NORMALIZATIONS = ("minmax", "robust", "rank", "none")
ESTIMATORS = ("adam", "adam_paper", "sgd", "sign", "ekfac", "fisher")
SIMILARITIES = ("rds", "rds_plus")

CORE = (
    ZERO_SHOT, "random", "less", "round_robin", "instance_max", "bids", "bids_cautious",
    "bids:robust", "bids:rank", "bids:none", "rds_plus", "bm25", "clean_balanced",
)  # fmt: skip
"""The default arms: three seeds take minutes."""
ARMS = (
    ZERO_SHOT,
    *METHODS,
    *(f"{method}:{kind}" for method in ("bids", "instance_max") for kind in NORMALIZATIONS),
    *ORACLES,
    *(f"{method}@{kind}" for method in ("bids", "less") for kind in ESTIMATORS[1:]),
    *(f"bids@{kind}" for kind in SIMILARITIES),
    *CANDIDATES,
)
"""All arms, `--methods all`."""


@dataclass(frozen=True)
class Label:
    """A parsed label."""

    method: str
    normalization: str
    estimator: str

    @classmethod
    def of(cls, text: str) -> Label:
        method, _, estimator = text.partition("@")
        method, _, normalization = method.partition(":")
        return cls(method, normalization or "zscore", estimator or "adam")


def needed_estimators(arms: tuple[str, ...]) -> tuple[str, ...]:
    """Return the influence estimators that these arms, and the measures, use."""
    used = {Label.of(arm).estimator for arm in arms}
    return tuple(name for name in ESTIMATORS if name == "adam" or name in used)


def pick(arm: str, budget: int, pool: Pool, evidence: Evidence, *, seed: int) -> Ints:
    """Return an arm's picks, best first."""
    if arm in ORACLES:
        return _clean(pool, seed, balanced=arm == "clean_balanced")[:budget]
    if arm in CANDIDATES:
        return pick_candidate(arm, evidence.matrices["adam"], evidence.instance_tasks, budget)
    label = Label.of(arm)
    n_rows = len(pool.rows)
    matrix = (
        _cosines(evidence.states[label.estimator], n_rows)
        if label.estimator in SIMILARITIES
        else evidence.matrices[label.estimator]
    )
    pooling = "rds" if label.method == "rds" else "rds_plus"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ColumnWarning)
        return select(
            matrix,
            budget,
            method=label.method,
            normalization=label.normalization,
            tasks=evidence.instance_tasks,
            seed=seed,
            sources=[row.task for row in pool.rows],
            texts=evidence.texts[:n_rows],
            validation_texts=evidence.texts[n_rows:],
            representations=evidence.states[pooling][:n_rows],
            validation_representations=evidence.states[pooling][n_rows:],
            perplexities=np.exp(evidence.losses),
        ).indices


def _cosines(states: npt.NDArray[np.float32], n_rows: int) -> npt.NDArray[np.float32]:
    units = states / np.linalg.norm(states, axis=1, keepdims=True)
    return units[:n_rows] @ units[n_rows:].T


def _clean(pool: Pool, seed: int, *, balanced: bool) -> Ints:
    """Return the clean rows in random order, with tasks taking turns on request."""
    order = np.random.default_rng(seed).permutation(len(pool.rows))
    rows = np.array([row for row in order if pool.rows[row].kind == "clean"])
    if not balanced:
        return rows
    seen: dict[str, int] = {}
    turns = []
    for row in rows:
        task = pool.rows[row].task
        turns.append(seen.get(task, 0))
        seen[task] = turns[-1] + 1
    return rows[np.argsort(turns, kind="stable")]
