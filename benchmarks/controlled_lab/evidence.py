"""The inputs of methods: attribution matrices, hidden states, losses and texts of a pool.

Shapes: N pool rows, M validation instances, D parameters of an adapter, C checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from bids_core.attribution import influence
from bids_core.data import collate
from bids_core.gradients import (
    Ekfac,
    FisherMetric,
    adam_update,
    compute_features,
    make_projector,
    n_trainable,
    per_example_gradients,
)
from controlled_lab.model import RANK, Stack, adapted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn
    from transformers import LlamaForCausalLM

    from bids_core.records import TokenizedExample
    from controlled_lab.pools import Pool
    from controlled_lab.problems import Row

Floats = "npt.NDArray[np.float32]"

BETAS, EPS = (0.9, 0.999), 1e-8
"""Torch's defaults, used by the warmup."""
DAMPING = 0.1
FISHER_DIM = 1024
"""Dimensions to which gradients are projected before computing the Fisher matrix, as in TRAK."""
_BATCH = 100
_TOKENS = 4096


@dataclass(frozen=True)
class Evidence:
    """What is known about one pool.

    Args:
        matrices: [N, M] influence by estimator; `adam` is the default of all methods.
        states: [N + M, H] hidden states of the base model, by pooling (`rds`, `rds_plus`).
        losses: [N] loss of each row under the base model.
        texts: N + M texts.
        instance_tasks: M tasks.
    """

    matrices: dict[str, Floats]
    states: dict[str, Floats]
    losses: Floats
    texts: list[str]
    instance_tasks: list[str]


@dataclass(frozen=True)
class Checkpoint:
    """One adapter of the warmup's stack at the end of an epoch."""

    weights: list[torch.Tensor]
    m_D: torch.Tensor
    v_D: torch.Tensor
    rate: float
    step: int


def warm_up(
    base: LlamaForCausalLM,
    pools: Sequence[Pool],
    *,
    share: float,
    epochs: int,
    lr: float,
    seed: int,
) -> list[list[Checkpoint]]:
    """Train an adapter on a random part of each pool; return each pool's checkpoints."""
    stack = Stack(base, len(pools), seed=seed)
    rng = np.random.default_rng(seed)
    found: list[list[Checkpoint]] = [[] for _ in pools]

    def keep(optimizer: torch.optim.Optimizer, rate: float, step: int) -> None:
        parameters = stack.parameters()
        states = [optimizer.state[parameter] for parameter in parameters]
        for place, checkpoints in enumerate(found):
            moments = [
                torch.cat([state[name][place].flatten() for state in states])
                for name in ("exp_avg", "exp_avg_sq")
            ]
            weights = [parameter[place].detach().clone() for parameter in parameters]
            checkpoints.append(Checkpoint(weights, *moments, rate=rate, step=step))

    parts = []
    for pool in pools:
        rows = rng.permutation(len(pool.rows))[: round(share * len(pool.rows))]
        parts.append(token_rows([pool.rows[row] for row in rows]))
    stack.fine_tune(torch.stack(parts), epochs=epochs, lr=lr, seed=seed, on_epoch=keep)
    return found


def token_rows(rows: Sequence[Row]) -> torch.Tensor:
    """Return [N, T] token ids."""
    return torch.from_numpy(np.stack([row.tokens() for row in rows]).astype(np.int64))


def gather(
    base: LlamaForCausalLM,
    pool: Pool,
    validation: Sequence[Row],
    checkpoints: Sequence[Checkpoint],
    *,
    estimators: Sequence[str],
) -> Evidence:
    """Return the inputs of all methods."""
    train = [row.example(f"row:{place}") for place, row in enumerate(pool.rows)]
    wanted = [row.example(f"instance:{place}") for place, row in enumerate(validation)]
    features: dict[str, list[tuple[Floats, Floats]]] = {name: [] for name in estimators}
    model = adapted(base, 0)
    for checkpoint in checkpoints:
        load_checkpoint(model, checkpoint)
        for name, pair in _features(model, train, wanted, checkpoint, estimators):
            features[name].append(pair)
    rates = np.array([checkpoint.rate for checkpoint in checkpoints])
    matrices = {
        name: influence(
            np.stack([a for a, _ in pairs]), np.stack([b for _, b in pairs]), rates / rates.sum()
        )
        for name, pairs in features.items()
    }
    load_checkpoint(model, None)
    states = {}
    for pooling in ("rds", "rds_plus"):
        found = compute_features(model, train + wanted, feature=pooling, tokens_per_batch=_TOKENS)
        states[pooling] = found.values.numpy()
    return Evidence(
        matrices,
        states,
        found.losses.numpy()[: len(train)],
        [row.text() for row in [*pool.rows, *validation]],
        [row.task for row in validation],
    )


def _features(
    model: nn.Module,
    train: list[TokenizedExample],
    wanted: list[TokenizedExample],
    checkpoint: Checkpoint,
    estimators: Sequence[str],
) -> Iterator[tuple[str, tuple[Floats, Floats]]]:
    """Yield each estimator's features of pool rows and instances at one checkpoint."""
    grads_ND, plain = gradients(model, train), gradients(model, wanted).numpy()
    for name in estimators:
        if name in ("adam", "adam_paper"):
            mode = "less_code" if name == "adam" else "paper"
            updates = adam_update(
                grads_ND, checkpoint.m_D, checkpoint.v_D, betas=BETAS, eps=EPS,
                step=checkpoint.step, mode=mode,
            )  # fmt: skip
            yield name, (updates.numpy(), plain)
        elif name == "sgd":
            yield name, (grads_ND.numpy(), plain)
        elif name == "sign":
            yield name, (grads_ND.sign().numpy(), plain)
        elif name == "fisher":
            yield name, _whitened(grads_ND, torch.from_numpy(plain))
        elif name == "ekfac":
            curvature = Ekfac.fit(model, train, damping=DAMPING, tokens_per_batch=_TOKENS)
            to = make_projector("none", n_trainable(model), 1, 0)
            yield name, tuple(
                compute_features(
                    model, part, feature="ekfac", projector=to, curvature=curvature,
                    tokens_per_batch=_TOKENS,
                ).values.numpy()
                for part in (train, wanted)
            )  # fmt: skip


def _whitened(train_ND: torch.Tensor, wanted_MD: torch.Tensor) -> tuple[Floats, Floats]:
    """Return projected gradients as unit rows in the metric of the pool's Fisher matrix."""
    projector = make_projector("sjlt", train_ND.shape[1], FISHER_DIM, 0)
    train, wanted = (projector.project(rows).numpy() for rows in (train_ND, wanted_MD))
    metric = FisherMetric.of_rows([train], dim=FISHER_DIM, n_rows=len(train), damping=DAMPING)
    names = [str(place) for place in range(max(len(train), len(wanted)))]
    return metric.whiten(train, row_ids=names), metric.whiten(wanted, row_ids=names)


def gradients(model: nn.Module, examples: list[TokenizedExample]) -> torch.Tensor:
    """Return each row's gradient of the adapter's weights, [rows, D]."""
    batches = [examples[first : first + _BATCH] for first in range(0, len(examples), _BATCH)]
    return torch.cat(
        [per_example_gradients(model, collate(batch, pad_token_id=0)) for batch in batches]
    )


def load_checkpoint(model: nn.Module, checkpoint: Checkpoint | None) -> None:
    """Load a checkpoint's adapter into the model; None: the adapter that changes nothing."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    with torch.no_grad():
        for place, parameter in enumerate(trainable):
            if checkpoint is not None:
                parameter.copy_(checkpoint.weights[place])
            elif parameter.shape[1] == RANK:  # lora_B
                parameter.zero_()
