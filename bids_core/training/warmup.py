"""The warmup: a short LoRA run that saves a checkpoint (adapter and Adam moments) each epoch.

Source: LESS section 3.1 (5% of the pool, 4 epochs); BIDS section 3 uses the whole pool.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from bids_core.data.row_keys import distinct_keys, row_keys
from bids_core.errors import ConfigError
from bids_core.progress import silent
from bids_core.training.moments import AdamMoments
from bids_core.training.processes import is_first_process, whole
from bids_core.training.trainer import train

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from peft import PeftModel

    from bids_core.config import WarmupConfig
    from bids_core.progress import Progress
    from bids_core.records import TokenizedExample

CHECKPOINT: Final = "checkpoint-{}"
"""Folder name of the checkpoint at the end of an epoch, counted from 1."""


def warmup_sample(keys: Sequence[str], fraction: float, *, seed: int) -> np.ndarray:
    """Return the sorted indices of the rows to train on: about `fraction` of them, at least one.

    Each row is drawn independently, by a hash of its content and the seed, so rows that join or
    leave the pool do not affect the others. The number of rows is therefore binomial, not exactly
    the share.

    Args:
        keys: of the rows (`bids_core.data.row_keys.row_keys`).
        fraction: share to train on; 1.0 is all.
        seed: of the sample.
    """
    if fraction >= 1.0:
        return np.arange(len(keys))
    drawn = np.array([draw(key, seed) for key in distinct_keys(keys)])
    chosen = np.flatnonzero(drawn < fraction)
    return chosen if len(chosen) else np.array([int(drawn.argmin())])


def random_rows(keys: Sequence[str], count: int, *, seed: int) -> np.ndarray:
    """Return the sorted indices of `count` random rows; all if there are fewer.

    Each row gets a number determined by its content and the seed, and the lowest are taken, so rows
    that join the pool displace only a few.

    Args:
        keys: of the rows (`bids_core.data.row_keys.row_keys`).
        count: how many.
        seed: of the draw; independent of the warmup's sample.
    """
    drawn = [draw(f"screen:{key}", seed) for key in distinct_keys(keys)]
    return np.sort(np.argsort(drawn, kind="stable")[:count])


def draw(key: str, seed: int) -> float:
    """Return a number in [0, 1) that depends only on row and seed."""
    digest = hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def warmup(
    model: PeftModel,
    examples: Sequence[TokenizedExample],
    settings: WarmupConfig,
    *,
    pad_token_id: int,
    seed: int,
    folder: Path,
    scratch: Path,
    sharded: bool = False,
    on_progress: Progress = silent,
) -> dict[str, Any]:
    """Train on a random subset and write a checkpoint at the end of each epoch.

    Args:
        model: base model with fresh adapters; trained in place.
        examples: the pool.
        settings: fraction, epochs (and after how many it stops), learning rate and so on.
        pad_token_id: token that fills short rows.
        seed: of the subset, the order and dropout.
        folder: where `checkpoint-1`, `checkpoint-2`, ... are written: adapter and Adam moments, as
            safetensors.
        scratch: for temporary files.
        sharded: shard the model over the processes that train together (FSDP).
        on_progress: called with (examples seen, examples in all epochs).

    Returns:
        Summary: losses, learning rates and epochs of the steps, tokens, seconds, row ids trained
        on, and `checkpoint_weights`: the mean learning rate of each epoch's steps, normalised to
        sum 1 (LESS eq. 3).

    Raises:
        ConfigError: the learning rates used give no weights.
    """
    sample = warmup_sample(row_keys(examples), settings.fraction, seed=seed)
    log = train(
        model,
        [examples[int(index)] for index in sample],
        settings,
        pad_token_id=pad_token_id,
        seed=seed,
        scratch=scratch,
        sharded=sharded,
        on_epoch_end=lambda epoch, trained, optimizer: save_checkpoint(
            folder / CHECKPOINT.format(epoch + 1), trained, optimizer
        ),
        on_progress=on_progress,
        stop_after=settings.stop_after,
    )
    weights = checkpoint_weights(log.learning_rates, log.epochs)
    rows = [examples[int(index)].row_id for index in sample]
    return {**asdict(log), "checkpoint_weights": weights, "n_rows": len(rows), "row_ids": rows}


def epoch_rates(learning_rates: Sequence[float], epochs: Sequence[int]) -> list[float]:
    """Return the mean learning rate of each epoch's steps.

    Args:
        learning_rates: of each optimizer step, as it ran.
        epochs: epoch of each step.
    """
    rates, of_epoch = np.asarray(learning_rates), np.asarray(epochs)
    return [float(rates[of_epoch == epoch].mean()) for epoch in np.unique(of_epoch)]


def checkpoint_weights(learning_rates: Sequence[float], epochs: Sequence[int]) -> list[float]:
    """Return the mean learning rate of each epoch's steps, normalised to sum 1 (LESS eq. 3).

    Args:
        learning_rates: of each optimizer step, as it ran.
        epochs: epoch of each step.

    Raises:
        ConfigError: every epoch's mean is zero.
    """
    means = np.array(epoch_rates(learning_rates, epochs))
    if not means.sum() > 0:
        msg = (
            "warmup: the learning rate was zero at every step; use more rows, more epochs or a "
            "smaller warmup.warmup_ratio"
        )
        raise ConfigError(msg)
    return [float(weight) for weight in means / means.sum()]


def weights_of(weights: Sequence[float], numbers: Sequence[int]) -> list[float]:
    """Return the weights of some checkpoints, which sum to 1 among themselves.

    Args:
        weights: of all checkpoints.
        numbers: of the checkpoints used, from 1.

    Raises:
        ConfigError: their weights are all zero.
    """
    if len(numbers) == len(weights):
        return list(weights)
    chosen = [float(weights[number - 1]) for number in numbers]
    if not sum(chosen) > 0:
        msg = (
            "gradients.checkpoints: the learning rate was zero throughout the epochs of "
            f"{', '.join(map(str, numbers))}, so they have no weight; choose other "
            "checkpoints"
        )
        raise ConfigError(msg)
    return [weight / sum(chosen) for weight in chosen]


def save_checkpoint(folder: Path, model: PeftModel, optimizer: torch.optim.Optimizer) -> None:
    """Write the adapter (safetensors) and the optimizer's moments, named by parameter.

    If several processes train, all of them must call this: sharded tensors are gathered, and the
    first process writes.
    """
    moments = read_moments(model, optimizer)
    weights = {name: whole(p) for name, p in model.named_parameters() if p.requires_grad}
    if is_first_process():
        folder.mkdir(parents=True)
        model.save_pretrained(str(folder), safe_serialization=True, state_dict=weights)
        moments.save(folder)


def read_moments(model: PeftModel, optimizer: torch.optim.Optimizer) -> AdamMoments:
    """Return the moments of all trainable parameters, with the optimizer's constants.

    A parameter that never got a gradient has no state in the optimizer: its moments are zero.
    Sharded state (FSDP) is gathered, parameter by parameter, in the order of their names.
    """
    first: dict[str, torch.Tensor] = {}
    second: dict[str, torch.Tensor] = {}
    steps = 0
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        state = optimizer.state.get(parameter, {})
        for moments, key in ((first, "exp_avg"), (second, "exp_avg_sq")):
            moment = state.get(key)
            if moment is None:  # a separate tensor: safetensors refuses two names for one
                moment = torch.zeros_like(parameter, dtype=torch.float32)
            moments[name] = whole(moment).float()
        steps = max(steps, int(state.get("step", 0)))
    group = optimizer.param_groups[0]
    beta1, beta2 = group["betas"]
    return AdamMoments(first, second, (float(beta1), float(beta2)), float(group["eps"]), steps)
