"""What cheaper influence costs and keeps, on the controlled pool that is half off target.

Each setting computes only what it needs, from the same pretrained model, and the processor time of
all of it before selection is taken: warmup, gradients, the screen's own signal. Its picks are
compared with those of the exact pipeline, and fine-tuned on.

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
from bids_core.data import collate
from bids_core.gradients import adam_update, compute_features, per_example_gradients
from bids_core.influence import fit_landmarks
from bids_core.selection import bm25_scores, select
from controlled_lab.evidence import BETAS, EPS, warm_up
from controlled_lab.evidence import load_checkpoint as load
from controlled_lab.model import adapted
from controlled_lab.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    import numpy.typing as npt
    from torch import nn

    from controlled_lab.evidence import Checkpoint

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

POOL = "half_off_target"
SHARE, EPOCHS, LR = 0.25, 4, 3e-3
BUDGET = 80
"""10% of the pool."""
SAMPLE = 40
"""Random rows beside a screen's; the landmarks are as many rows as asked for."""
_BATCH = 100


@dataclass(frozen=True)
class Setting:
    """One way to the influence matrix.

    Args:
        name: in results.
        checkpoints: how many of the warmup's are computed, from the first.
        screen: share of the pool that BM25 keeps; None: all rows get gradients.
        landmarks: share of the pool that the influence of the others is inferred from.
        half: gradients of the last half of the layers alone.
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
    """Return a row for each setting, the exact one among them, and for the picks to beat."""
    world = World.of(POOL, seed)
    base = world.model()
    model = adapted(base, 0)
    train = [row.example(f"row:{place}") for place, row in enumerate(world.pool.rows)]
    wanted = [row.example(f"instance:{place}") for place, row in enumerate(world.validation)]
    texts = [row.text() for row in (*world.pool.rows, *world.validation)]
    tasks = [row.task for row in world.validation]
    started = time.process_time()
    (checkpoints,) = warm_up(
        base, [world.pool], share=SHARE, epochs=EPOCHS, lr=LR, seed=seed
    )  # fmt: skip
    epoch_seconds = (time.process_time() - started) / EPOCHS
    picks: dict[str, Ints] = {}
    seconds: dict[str, float] = {}
    rng = np.random.default_rng([seed, 5000])
    drawn = rng.permutation(len(train))
    for setting in settings:
        used = checkpoints[: setting.checkpoints]
        started = time.process_time()
        rows = _rows(setting, texts, tasks, drawn)
        matrix = _matrix(model, [train[row] for row in rows], wanted, used, half=setting.half)
        if setting.landmarks is not None:
            states = _states(model, train)
            inferred, _ = fit_landmarks(states[rows], matrix).predict(states)
            inferred[rows] = matrix
            rows, matrix = np.arange(len(train)), inferred
        seconds[setting.name] = time.process_time() - started + setting.checkpoints * epoch_seconds
        picks[setting.name] = rows[select(matrix, BUDGET, method="bids").indices]
    states = _states(model, train + wanted)
    seconds |= {"random": 0.0, "less by rds": float("nan")}
    picks["random"] = rng.permutation(len(train))[:BUDGET]
    units = states / np.linalg.norm(states, axis=1, keepdims=True)
    close = units[: len(train)] @ units[len(train) :].T
    picks["less by rds"] = select(close, BUDGET, method="less", tasks=tasks).indices
    losses = world.losses(base, list(picks.values())).mean(axis=1)
    exact = set(picks["exact"].tolist())
    return [
        {
            "seed": seed,
            "setting": name,
            "cost_share": seconds[name] / seconds["exact"],
            "overlap": len(exact & set(chosen.tolist())) / BUDGET,
            "loss": float(loss),
        }
        for (name, chosen), loss in zip(picks.items(), losses, strict=True)
    ]


def _rows(setting: Setting, texts: list[str], tasks: list[str], drawn: Ints) -> Ints:
    """Return the rows that get gradients."""
    n_rows = len(drawn)
    if setting.landmarks is not None:
        return np.sort(drawn[: round(setting.landmarks * n_rows)])
    if setting.screen is None:
        return np.arange(n_rows)
    scores = bm25_scores(texts[:n_rows], texts[n_rows:])
    kept = select(scores, setting.screen, method="less", tasks=tasks).indices
    return np.union1d(kept, drawn[:SAMPLE])


def _matrix(
    model: nn.Module,
    train: list[Any],
    wanted: list[Any],
    checkpoints: list[Checkpoint],
    *,
    half: bool,
) -> Floats:
    """Return the influence of some rows at some checkpoints."""
    rates = np.array([checkpoint.rate for checkpoint in checkpoints])
    features = []
    for checkpoint in checkpoints:
        load(model, checkpoint)
        with _gradients_of(model, half=half) as columns:
            updates = adam_update(
                _gradients(model, train), checkpoint.m_D[columns], checkpoint.v_D[columns],
                betas=BETAS, eps=EPS, step=checkpoint.step, mode="less_code",
            )  # fmt: skip
            features.append((updates.numpy(), _gradients(model, wanted).numpy()))
    first, second = (np.stack(part) for part in zip(*features, strict=True))
    return influence(first, second, rates / rates.sum()).astype(np.float64)


@contextmanager
def _gradients_of(model: nn.Module, *, half: bool) -> Iterator[torch.Tensor]:
    """Take gradients in the second of the two layers alone; yields which coordinates those are."""
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


def _gradients(model: nn.Module, examples: list[Any]) -> torch.Tensor:
    batches = [examples[first : first + _BATCH] for first in range(0, len(examples), _BATCH)]
    return torch.cat(
        [per_example_gradients(model, collate(batch, pad_token_id=0)) for batch in batches]
    )


def _states(model: nn.Module, examples: list[Any]) -> Floats:
    load(model, None)
    return compute_features(
        model, examples, feature="rds_plus", tokens_per_batch=4096
    ).values.numpy().astype(np.float64)  # fmt: skip


def summarised(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a line a setting: means over seeds, and the paired loss gap to the exact pipeline."""
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
