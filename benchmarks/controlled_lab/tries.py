"""Cheaper ways to influence that were tried and rejected, next to settings of `price.py`.

**GIST** (arXiv 2602.18584). V [M, D] are the instances' gradients at a checkpoint, V = U S W^T, and
W_r are the first r right singular vectors. The influence of a row is cos(W_r^T g, W_r^T v_j), with
g its plain gradient. As in the authors' scripts, it uses the subspace, the plain gradient in place
of Adam's update, and one checkpoint; unlike them, it does not average over a task's instances,
because BIDS picks by instance. The whole g is needed before it can be projected, so no backward
pass is saved.

**Loss paths** (TACS, arXiv 2605.09404). An adapter of rank one is trained on the instances. A row's
score is (l_0 - l_T) / l_0, with l_t its loss after t epochs: forward passes only. Either there is
one path on all instances, and the best rows are picked; or one per task, and BIDS picks from the N
x tasks scores. `matched` uses pairs: the correlation of a row's steps l_t - l_(t-1) with those of
instance j along the single path (the authors' code can take a row's covariance with the mean of the
instances).

**A smaller model**, pretrained in the same way: its influence at its first checkpoint, after its
own warmup. Either its picks are used directly, or it is the screen: the model's own influence picks
among the rows that the smaller model picks at the screen's size.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from bids_core.attribution import influence
from bids_core.selection import select
from controlled_lab.evidence import gradients, load_checkpoint, token_rows
from controlled_lab.model import Stack
from controlled_lab.price import SETTINGS, chosen_by, influence_of, with_sample
from controlled_lab.start import BUDGET, SMALLER, Start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

BESIDE = (
    "exact", "checkpoint 1", "checkpoint 1, screen bm25 65%", "checkpoint 1, screen bm25 40%",
    "checkpoint 1, screen bm25 20%",
)  # fmt: skip
"""Settings of `price.py` that also run."""
PATH_EPOCHS, PATH_LR = 8, 3e-2
_BATCH = 100


@dataclass(frozen=True)
class Try:
    """One way to picks.

    Args:
        name: in results.
        pick: maps one seed to the picked rows.
        epochs: how many epochs of the model's warmup it needs.
        smaller: the smaller model of which it needs one epoch.
    """

    name: str
    pick: Callable[[Start], Ints]
    epochs: int = 0
    smaller: str | None = None


def run(seed: int, tries: Sequence[Try] | None = None) -> list[dict[str, Any]]:
    """Return a row for each way, for the settings to compare with, and for random picks."""
    start = Start.of(seed)
    smaller = start.smaller  # before any way is timed
    picks: dict[str, Ints] = {"random": start.random}
    seconds: dict[str, float] = {"random": 0.0}
    for setting in SETTINGS:
        if setting.name in BESIDE:
            picks[setting.name], seconds[setting.name] = chosen_by(setting, start)
    for way in TRIES if tries is None else tries:
        began = time.process_time()
        picks[way.name] = way.pick(start)
        seconds[way.name] = time.process_time() - began + way.epochs * start.chooser.epoch_seconds
        if way.smaller is not None:
            seconds[way.name] += smaller[way.smaller].epoch_seconds
    return start.outcomes(picks, seconds)


def gist(start: Start, *, rank: int) -> Ints:
    """Pick by cosines in the span of the instances' first singular vectors, at checkpoint 1."""
    model, checkpoint = start.chooser.model, start.chooser.checkpoints[0]
    load_checkpoint(model, checkpoint)
    rows_ND, instances_MD = gradients(model, start.train), gradients(model, start.wanted)
    basis_Dr = subspace(instances_MD, rank)
    both = ((part @ basis_Dr).numpy()[None] for part in (rows_ND, instances_MD))
    return select(influence(*both, np.ones(1)), BUDGET, method="bids").indices


def subspace(instances_MD: torch.Tensor, rank: int) -> torch.Tensor:
    """Return the first right singular vectors of the instances' gradients, [D, rank]."""
    _, _, right_MD = torch.linalg.svd(instances_MD, full_matrices=False)
    return right_MD[:rank].T


def path(start: Start, *, count: int = BUDGET) -> Ints:
    """Pick the rows whose loss decreases most along one path on all instances."""
    return np.argsort(-falls(start, [range(len(start.wanted))])[:, 0], kind="stable")[:count]


def path_of_tasks(start: Start) -> Ints:
    """Pick with BIDS from the decreases along a path for each task."""
    return select(falls(start, by_task(start)), BUDGET, method="bids").indices


def screened_by_path(start: Start, *, keep: float) -> Ints:
    """Pick with the model's own influence from the rows that the path would pick."""
    return survivors(path(start, count=round(keep * len(start.train))), start)


def matched(start: Start) -> Ints:
    """Pick with BIDS by the correlation of loss changes along one path on all instances."""
    tokens = token_rows([*start.world.pool.rows, *start.world.validation])
    steps = np.diff(along(start, [range(len(start.wanted))], tokens)[:, 0], axis=0).T
    units = steps - steps.mean(1, keepdims=True)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    n_rows = len(start.train)
    return select(units[:n_rows] @ units[n_rows:].T, BUDGET, method="bids").indices


def by_task(start: Start) -> list[list[int]]:
    """Return the instances of each task."""
    places: dict[str, list[int]] = {}
    for place, task in enumerate(start.tasks):
        places.setdefault(task, []).append(place)
    return list(places.values())


def falls(start: Start, groups: Sequence[Sequence[int]]) -> Floats:
    """Return the relative decrease of each row's loss along the path of each group, [N, groups]."""
    ends = along(start, groups, token_rows(start.world.pool.rows), ends=True)
    return ((ends[0] - ends[-1]) / ends[0]).T


def along(
    start: Start, groups: Sequence[Sequence[int]], tokens: torch.Tensor, *, ends: bool = False
) -> Floats:
    """Return the rows' losses along the path of each group, [epochs + 1 or 2, groups, rows].

    Args:
        start: the seed.
        groups: groups of instances, of equal size; an adapter of rank one is trained on each.
        tokens: rows whose loss is measured.
        ends: measure only before the first epoch and after the last.
    """
    instances = token_rows(start.world.validation)
    stack = Stack(start.base, len(groups), seed=start.world.seed, rank=1)
    found = [losses(stack, tokens)]
    stack.fine_tune(
        torch.stack([instances[list(group)] for group in groups]),
        epochs=PATH_EPOCHS, lr=PATH_LR, seed=start.world.seed,
        on_epoch=None if ends else lambda *_: found.append(losses(stack, tokens)),
    )  # fmt: skip
    if ends:
        found.append(losses(stack, tokens))
    return torch.stack(found).double().numpy()


@torch.no_grad()
def losses(stack: Stack, tokens: torch.Tensor) -> torch.Tensor:
    """Return every adapter's loss on every row, [groups, rows]; in fewer, larger batches."""
    parts = tokens.split(_BATCH)
    return torch.cat([stack.losses(part.expand(stack.count, -1, -1)) for part in parts], dim=1)


def picks_of(name: str, start: Start, *, count: float = BUDGET) -> Ints:
    """Pick with BIDS by the influence of a smaller model."""
    every = np.arange(len(start.train))
    matrix = influence_of(every, start, start.smaller[name], checkpoints=1)
    return select(matrix, count, method="bids").indices


def screened_by(name: str, start: Start, *, keep: float) -> Ints:
    """Pick with the model's own influence from the rows that a smaller model would pick."""
    return survivors(picks_of(name, start, count=keep), start)


def survivors(kept: Ints, start: Start) -> Ints:
    """Pick with BIDS from the rows that a screen keeps, by the influence at checkpoint 1."""
    rows = with_sample(kept, start)
    matrix = influence_of(rows, start, start.chooser, checkpoints=1)
    return rows[select(matrix, BUDGET, method="bids").indices]


def _smaller(name: str) -> Iterator[Try]:
    yield Try(f"smaller model, {name}", partial(picks_of, name), smaller=name)
    for keep in (0.4, 0.2):
        title = f"checkpoint 1, screen smaller model, {name}, {keep:.0%}"
        yield Try(title, partial(screened_by, name, keep=keep), epochs=1, smaller=name)


TRIES = (
    *(Try(f"GIST, rank {rank}", partial(gist, rank=rank), epochs=1) for rank in (6, 24, 60)),
    Try("loss path", path),
    Try("loss path of each task", path_of_tasks),
    Try("loss path, matched", matched),
    Try("checkpoint 1, screen loss path 40%", partial(screened_by_path, keep=0.4), epochs=1),
    *(way for name in SMALLER for way in _smaller(name)),
)
