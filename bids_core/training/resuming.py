"""Checkpoints of a training in progress, from which a killed one continues as if undisturbed.

The Trainer's own checkpoints (weights, optimizer, schedule, random state) lack two things: the
random state with which the epoch's order was drawn, and the log so far. Both are kept beside them,
in a JSON file that is written last: a checkpoint without it is incomplete and is not used.

The Trainer writes optimizer and random state with `torch.save`, and reads them as tensors only
(`weights_only`); they are temporary files that nothing else reads.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.utils.data import Sampler
from transformers import TrainerCallback

from bids_core.training.processes import from_first, is_first_process, world_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer_pt_utils import LengthGroupedSampler

    from bids_core.training.log import TrainingLog

PROGRESS: Final = "progress.json"


class KeptOrder(Sampler[int]):
    """The Trainer's order of examples, with the random state from which it was drawn."""

    def __init__(self, plain: LengthGroupedSampler) -> None:
        self._plain = plain
        self._drawn_with: torch.Tensor | None = None
        self._draw_again: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self._plain)

    def __iter__(self) -> Iterator[int]:
        if self._draw_again is not None:
            torch.set_rng_state(self._draw_again)
            self._draw_again = None
        self._drawn_with = from_first(torch.get_rng_state())
        own = torch.get_rng_state()  # dropout may have made the processes' states differ
        torch.set_rng_state(self._drawn_with)
        order: Iterator[int] = iter(self._plain)
        if world_size() > 1:
            torch.set_rng_state(own)
        return order

    def state(self) -> list[int]:
        """Return the random state of the epoch's order."""
        return [] if self._drawn_with is None else self._drawn_with.tolist()

    def restore(self, checkpoint: Path) -> dict[str, Any]:
        """Draw the order of the checkpoint's epoch again, if it is inside one; return the log."""
        kept = json.loads((checkpoint / PROGRESS).read_text(encoding="utf-8"))
        if kept["within_epoch"]:
            self._draw_again = torch.tensor(kept["order"], dtype=torch.uint8)
        return dict(kept["log"])


def latest_checkpoint(folder: Path, shape: list[int]) -> Path | None:
    """Return the newest complete checkpoint; remove incomplete ones and those that do not fit.

    Args:
        folder: where the checkpoints are.
        shape: of the training: sizes of its batches, steps, processes.
    """
    whole = []
    for path in folder.glob("checkpoint-*"):
        kept = path / PROGRESS
        if kept.exists() and json.loads(kept.read_text(encoding="utf-8"))["shape"] == shape:
            whole.append(path)
        elif is_first_process():
            shutil.rmtree(path)
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


class Resuming(TrainerCallback):
    """Requests a checkpoint at intervals, and completes it."""

    def __init__(
        self, trainer: Trainer, log: TrainingLog, seconds: float, shape: list[int]
    ) -> None:
        self._trainer = trainer
        self._shape = shape
        self._log = log
        self._seconds = seconds
        self._last = self._started = time.monotonic()
        self._before = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self._last = self._started = time.monotonic()
        self._before = self._log.seconds

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Request a checkpoint when it is due and training is not finished."""
        due = time.monotonic() - self._last >= self._seconds
        if state.global_step < state.max_steps and from_first(due):
            control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Complete the checkpoint the Trainer just wrote, once all processes have written it."""
        self._last = time.monotonic()
        self._trainer.accelerator.wait_for_everyone()
        if not is_first_process():
            return
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        order: KeptOrder = self._trainer._get_train_sampler()  # type: ignore[assignment]
        per_epoch = state.max_steps // int(args.num_train_epochs)
        log = asdict(self._log) | {"seconds": self._before + self._last - self._started}
        kept = {
            "shape": self._shape,
            "within_epoch": state.global_step % per_epoch != 0,
            "order": order.state(),
            "log": log,
        }
        aside = folder / f".{PROGRESS}"
        with aside.open("w", encoding="utf-8") as file:
            json.dump(kept, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(folder / PROGRESS)
