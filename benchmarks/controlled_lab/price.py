"""What cheaper influence costs and keeps, on the controlled pool that is half off target.

Each setting computes only what it needs, from the same pretrained model. Its cost is the processor
time of everything before selection: warmup, gradients, the screen's own signal. Its picks are
compared with those of the exact pipeline, and used for fine-tuning.

The exact pipeline has the four epochs, and so four checkpoints, of both papers; the warmup trains
on a quarter of the pool.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from bids_core.attribution import influence
from bids_core.gradients import adam_update, compute_features
from bids_core.influence import fit_landmarks
from bids_core.selection import bm25_scores, select
from controlled_lab.evidence import BETAS, EPS, gradients, load_checkpoint
from controlled_lab.start import BUDGET, EPOCHS, SAMPLE, Start

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    import numpy.typing as npt
    from torch import nn

    from controlled_lab.start import Chooser

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Setting:
    """One way to the influence matrix.

    Args:
        name: in results.
        checkpoints: how many of the warmup's checkpoints are computed, from the first.
        screen: share of the pool that BM25 keeps; None: all rows get gradients.
        landmarks: share of the pool from which the influence of the others is inferred.
        half: use gradients of the last half of the layers only.
    """

    name: str
    checkpoints: int = EPOCHS
    screen: float | None = None
    landmarks: float | None = None
    half: bool = False


SETTINGS = (
    Setting("exact"),
    Setting("checkpoints 1 and 2", checkpoints=2),
    Setting("checkpoint 1", checkpoints=1),
    Setting("last half of the layers", half=True),
    Setting("checkpoint 1, last half of the layers", checkpoints=1, half=True),
    Setting("screen bm25 40%", screen=0.4),
    Setting("checkpoint 1, screen bm25 65%", checkpoints=1, screen=0.65),
    Setting("checkpoint 1, screen bm25 40%", checkpoints=1, screen=0.4),
    Setting("checkpoint 1, screen bm25 20%", checkpoints=1, screen=0.2),
    Setting("checkpoint 1, landmarks 20%", checkpoints=1, landmarks=0.2),
)


def run(seed: int, settings: Sequence[Setting] = SETTINGS) -> list[dict[str, Any]]:
    """Return a row for each setting, including the exact one, and for the picks to beat."""
    start = Start.of(seed)
    picks: dict[str, Ints] = {}
    seconds: dict[str, float] = {}
    for setting in settings:
        picks[setting.name], seconds[setting.name] = chosen_by(setting, start)
    states = _states(start.chooser.model, start.train + start.wanted)
    seconds |= {"random": 0.0, "less by rds": float("nan")}
    picks["random"] = start.random
    units = states / np.linalg.norm(states, axis=1, keepdims=True)
    close = units[: len(start.train)] @ units[len(start.train) :].T
    picks["less by rds"] = select(close, BUDGET, method="less", tasks=start.tasks).indices
    return start.outcomes(picks, seconds)


def chosen_by(setting: Setting, start: Start) -> tuple[Ints, float]:
    """Return the picks of a setting, and the processor time of everything before selection."""
    began = time.process_time()
    if setting.screen is None:
        rows = np.arange(len(start.train))
        if setting.landmarks is not None:
            rows = np.sort(start.drawn[: round(setting.landmarks * len(rows))])
    else:
        kept = select(lexical(start), setting.screen, method="less", tasks=start.tasks).indices
        rows = with_sample(kept, start)
    matrix = influence_of(
        rows, start, start.chooser, checkpoints=setting.checkpoints, half=setting.half
    )
    if setting.landmarks is not None:
        states = _states(start.chooser.model, start.train)
        inferred, _ = fit_landmarks(states[rows], matrix).predict(states)
        inferred[rows] = matrix
        rows, matrix = np.arange(len(start.train)), inferred
    seconds = time.process_time() - began + setting.checkpoints * start.chooser.epoch_seconds
    return rows[select(matrix, BUDGET, method="bids").indices], seconds


def lexical(start: Start) -> Floats:
    """Return the BM25 scores of the pool's rows for the instances, [N, M]."""
    n_rows = len(start.train)
    return bm25_scores(start.texts[:n_rows], start.texts[n_rows:])


def with_sample(kept: Ints, start: Start) -> Ints:
    """Return the rows that a screen keeps, plus a random sample."""
    return np.union1d(kept, start.drawn[:SAMPLE])


def influence_of(
    rows: Ints, start: Start, chooser: Chooser, *, checkpoints: int = EPOCHS, half: bool = False
) -> Floats:
    """Return the influence of some rows of the pool at the first checkpoints, [rows, M]."""
    train = [start.train[row] for row in rows]
    used = chooser.checkpoints[:checkpoints]
    rates = np.array([checkpoint.rate for checkpoint in used])
    features = []
    for checkpoint in used:
        load_checkpoint(chooser.model, checkpoint)
        with _gradients_of(chooser.model, half=half) as columns:
            updates = adam_update(
                gradients(chooser.model, train), checkpoint.m_D[columns], checkpoint.v_D[columns],
                betas=BETAS, eps=EPS, step=checkpoint.step, mode="less_code",
            )  # fmt: skip
            features.append((updates.numpy(), gradients(chooser.model, start.wanted).numpy()))
    first, second = (np.stack(part) for part in zip(*features, strict=True))
    return influence(first, second, rates / rates.sum()).astype(np.float64)


@contextmanager
def _gradients_of(model: nn.Module, *, half: bool) -> Iterator[torch.Tensor]:
    """Compute gradients in the second of the two layers only; yield which coordinates those are."""
    parameters = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    left_out = [p for name, p in parameters if half and ".layers.1." not in name]
    columns = [torch.full((p.numel(),), not half or ".layers.1." in n) for n, p in parameters]
    for parameter in left_out:
        parameter.requires_grad_(False)
    try:
        yield torch.cat(columns)
    finally:
        for parameter in left_out:
            parameter.requires_grad_(True)


def _states(model: nn.Module, examples: list[Any]) -> Floats:
    load_checkpoint(model, None)
    return compute_features(
        model, examples, feature="rds_plus", tokens_per_batch=4096
    ).values.numpy().astype(np.float64)  # fmt: skip


def summarised(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a line per setting: means over seeds, and the paired loss gap to the exact one."""
    from controlled_lab.summary import interval

    exact = {row["seed"]: row["loss"] for row in rows if row["setting"] == "exact"}
    lines = []
    for name in dict.fromkeys(row["setting"] for row in rows):
        own = [row for row in rows if row["setting"] == name]
        gaps = np.array([row["loss"] - exact[row["seed"]] for row in own])
        gap, half_width = interval(gaps)
        overlaps = np.array([row["overlap"] for row in own])
        lines.append(
            {
                "model": "controlled",
                "setting": name,
                "cost_share": float(np.mean([row["cost_share"] for row in own])),
                "overlap": float(overlaps.mean()),
                "overlap_low": float(overlaps.min()),
                "overlap_high": float(overlaps.max()),
                "loss": float(np.mean([row["loss"] for row in own])),
                "loss_gap": gap,
                "loss_gap_low": gap - half_width,
                "loss_gap_high": gap + half_width,
                "n_seeds": len(own),
            }
        )
    return lines
