"""Learning rates of another training, from the log in its checkpoints.

A checkpoint's weight is the mean learning rate of the steps since the previous checkpoint, over one
epoch at most. The Trainer logs the rate every few steps, and its scheduler knows the next one after
a checkpoint; between known rates, it is interpolated linearly.
"""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from bids_core.artifacts import read_small_json
from bids_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STATE: Final = "trainer_state.json"
_SCHEDULER: Final = "scheduler.pt"


@dataclass(frozen=True)
class TrainerLog:
    """What `trainer_state.json` records about the training up to a checkpoint.

    Args:
        step: optimizer steps so far.
        steps_per_epoch: optimizer steps of an epoch.
        rates: (step from 1, its learning rate), as logged.
        losses: (step, mean loss of the steps since the previous entry), as logged.
    """

    step: int
    steps_per_epoch: float
    rates: tuple[tuple[int, float], ...]
    losses: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Schedule:
    """Learning rates and losses of the steps that led to each checkpoint.

    Args:
        learning_rates: of each step.
        losses: mean loss of the logging interval of each step; empty if none was logged.
        epochs: number (from 0) of the checkpoint that each step led to.
    """

    learning_rates: list[float]
    losses: list[float]
    epochs: list[int]


def read_log(folder: Path) -> TrainerLog:
    """Read the Trainer's state beside a checkpoint.

    Raises:
        ConfigError: it is missing, or has no steps.
    """
    path = folder / STATE
    try:
        state: dict[str, Any] = read_small_json(path)
        step, epoch = int(state["global_step"]), float(state["epoch"])
        history = list(state["log_history"])
    except FileNotFoundError as error:
        msg = (
            f"warmup.checkpoints: {folder} has no {STATE}, so neither its steps nor its "
            "learning rates are known; give a checkpoint-... folder written by the Trainer"
        )
        raise ConfigError(msg) from error
    except (ValueError, KeyError, TypeError) as error:
        msg = f"warmup.checkpoints: {path} is not a Trainer state ({error!r})"
        raise ConfigError(msg) from error
    if step < 1 or not epoch > 0:
        msg = f"warmup.checkpoints: {folder} is from before the first step; give a later one"
        raise ConfigError(msg)
    rates = _points(history, "learning_rate")
    ahead = _next_rate(folder)
    if rates and ahead is not None:
        if _logged_after_the_step(ahead, step, rates):
            rates = [(at + 1, rate) for at, rate in rates]
        rates = sorted({**dict(rates), step + 1: ahead}.items())
    return TrainerLog(step, step / epoch, tuple(rates), tuple(_points(history, "loss")))


def schedule(logs: Sequence[TrainerLog], folders: Sequence[Path]) -> Schedule:
    """Return the learning rates and losses of the steps that led to each checkpoint.

    Args:
        logs: of the checkpoints, by step.
        folders: of the checkpoints, for messages.

    Raises:
        ConfigError: no learning rate was logged, so there are no weights.
    """
    found = Schedule([], [], [])
    known: dict[int, float] = {}
    for log in reversed(logs):  # the last log has all logged entries, each one its scheduler's
        known = dict(log.rates) | known
    losses = logs[-1].losses
    before = 0
    for number, (log, folder) in enumerate(zip(logs, folders, strict=True)):
        if not log.rates:
            msg = (
                f"warmup.checkpoints: {folder / STATE} logs no learning rate up to step "
                f"{log.step} (logging_steps was larger), so its weight is unknown; set "
                "warmup.checkpoint_rates to the mean learning rate of the epoch before each "
                "checkpoint"
            )
            raise ConfigError(msg)
        first = max(before, round(log.step - log.steps_per_epoch)) + 1
        steps = np.arange(first, log.step + 1)
        at, rates = zip(*sorted(known.items()), strict=True)
        found.learning_rates.extend(float(rate) for rate in np.interp(steps, at, rates))
        found.epochs.extend([number] * len(steps))
        if losses:
            ends, values = zip(*losses, strict=True)
            places = np.minimum(np.searchsorted(ends, steps), len(ends) - 1)
            found.losses.extend(float(values[place]) for place in places)
        before = log.step
    return found


def given(rates: Sequence[float]) -> Schedule:
    """Return a schedule of one step per checkpoint, at rates given by the user."""
    return Schedule([float(rate) for rate in rates], [], list(range(len(rates))))


def _points(history: Sequence[Any], name: str) -> list[tuple[int, float]]:
    points = {
        int(entry["step"]): float(entry[name])
        for entry in history
        if isinstance(entry, dict)
        and "step" in entry
        and isinstance(entry.get(name), int | float)
        and math.isfinite(entry[name])
    }
    return sorted(points.items())


def _next_rate(folder: Path) -> float | None:
    """Return the learning rate of the step after a checkpoint, None if no scheduler was saved."""
    path = folder / _SCHEDULER
    if not path.is_file():
        return None
    try:
        scheduler = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        msg = f"warmup.checkpoints: {path} cannot be read ({str(error).splitlines()[0][:120]})"
        raise ConfigError(msg) from error
    ahead = scheduler.get("_last_lr") if isinstance(scheduler, dict) else None
    return float(ahead[0]) if ahead else None


def _logged_after_the_step(ahead: float, step: int, rates: Sequence[tuple[int, float]]) -> bool:
    """Return whether the log has the rate of the next step, as transformers before 4.57 logged it.

    In that case the entry at the checkpoint's own step equals the scheduler's rate for the next
    one.
    """
    last = dict(rates).get(step)
    return last is not None and math.isclose(ahead, last, rel_tol=1e-9, abs_tol=1e-18)
