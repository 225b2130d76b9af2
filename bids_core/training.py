"""LoRA training through transformers' Trainer: the same tokens and masks as the gradients see.

AdamW with a linear schedule. The learning rate of every step is written down as it ran, not as it
was planned: checkpoint weights are measured from it.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from bids_core.data.batches import collate
from bids_core.errors import NonFiniteError
from bids_core.gradients.attention import fast_attention
from bids_core.gradients.loss import LabelRows, example_losses, output_head
from bids_core.progress import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from peft import PeftModel

    from bids_core.config import OptimizerConfig
    from bids_core.progress import Progress
    from bids_core.records import TokenizedExample


@dataclass
class TrainingLog:
    """What ran.

    Args:
        losses: mean token loss of each optimizer step.
        learning_rates: learning rate of each optimizer step.
        epochs: epoch (from 0) that each step belongs to.
        tokens: tokens seen, padding not counted.
        seconds: wall time.
    """

    losses: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0


def train(
    model: PeftModel,
    examples: Sequence[TokenizedExample],
    settings: OptimizerConfig,
    *,
    pad_token_id: int,
    seed: int,
    scratch: Path,
    on_epoch_end: Callable[[int, PeftModel, torch.optim.Optimizer], None] | None = None,
    on_progress: Progress = silent,
) -> TrainingLog:
    """Train the adapters of `model` in place.

    Args:
        model: base model with trainable adapters, on its device.
        examples: what to train on.
        settings: epochs, learning rate, batch size and the like.
        pad_token_id: token that fills short rows; carries no loss.
        seed: of the order of the examples and of dropout.
        scratch: folder for the Trainer's own files.
        on_epoch_end: called with (epoch from 0, model, optimizer) after each epoch's last step.
        on_progress: called with (examples seen, examples in all epochs).

    Raises:
        NonFiniteError: the loss of a step was NaN or infinite.
    """
    longest = max(example.n_tokens for example in examples)
    per_step = min(settings.batch_size, len(examples))
    micro = max(1, min(per_step, settings.tokens_per_batch // longest))
    accumulation = math.ceil(per_step / micro)
    micro = math.ceil(per_step / accumulation)
    steps = math.ceil(math.ceil(len(examples) / micro) / accumulation) * settings.epochs
    device = next(model.parameters()).device
    arguments = TrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(settings.warmup_ratio * steps),
        weight_decay=settings.weight_decay,
        adam_beta1=settings.beta1,
        adam_beta2=settings.beta2,
        adam_epsilon=settings.eps,
        optim="adamw_torch",
        max_grad_norm=settings.max_grad_norm or 0.0,
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        seed=seed,
        save_strategy="no",
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,  # a NaN must show, not be replaced by the mean so far
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=device.type == "cuda",
        use_cpu=device.type == "cpu",
        remove_unused_columns=False,
    )
    watch = _Watch(len(examples), settings.epochs, on_epoch_end, on_progress)
    trainer = _LabelTrainer(
        model=model,
        args=arguments,
        train_dataset=_Rows(examples),
        data_collator=lambda rows: collate(
            [row["example"] for row in rows], pad_token_id=pad_token_id
        ),
        callbacks=[watch],
    )
    trainer.remove_callback(_printer())
    started = time.perf_counter()
    trainer.train()
    watch.log.seconds = time.perf_counter() - started
    watch.log.tokens = settings.epochs * sum(example.n_tokens for example in examples)
    return watch.log


class _LabelTrainer(Trainer):
    """Trainer whose logits are computed only where a label is.

    The loss is the mean over the completion tokens of the optimizer step, as in the plain Trainer;
    leaving out the other logits saves a fifth of the time of a small model.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = True  # the loss below divides by num_items_in_batch

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Return the summed token loss of a micro-batch, divided by the step's tokens."""
        rows = LabelRows.of(inputs["labels"])
        with fast_attention(model, inputs["input_ids"].shape[1]):
            losses = example_losses(model, inputs, rows, head=output_head(model))
        total = rows.counts.sum() if num_items_in_batch is None else num_items_in_batch
        return (losses * rows.counts).sum() / total


def _printer() -> type[TrainerCallback]:
    from transformers.trainer_callback import PrinterCallback

    return PrinterCallback


class _Rows(torch.utils.data.Dataset[dict[str, Any]]):
    """The examples, with the length that the length-grouping sampler looks for."""

    def __init__(self, examples: Sequence[TokenizedExample]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = self.examples[index]
        return {"example": example, "input_ids": example.input_ids, "length": example.n_tokens}


class _Watch(TrainerCallback):  # its methods have the signature that the Trainer calls
    """Writes down what ran, and stops at the first loss that is not a number."""

    def __init__(
        self,
        n_examples: int,
        n_epochs: int,
        on_epoch_end: Callable[[int, PeftModel, torch.optim.Optimizer], None] | None,
        on_progress: Progress,
    ) -> None:
        self.log = TrainingLog()
        self._total = n_examples * n_epochs
        self._n_epochs = n_epochs
        self._epoch = 0
        self._on_epoch_end = on_epoch_end
        self._on_progress = on_progress

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write down the learning rate that the step is about to use."""
        self.log.learning_rates.append(float(kwargs["optimizer"].param_groups[0]["lr"]))
        self.log.epochs.append(self._epoch)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Report how many examples have been seen."""
        done = round(self._total * (state.epoch or 0.0) / self._n_epochs)
        self._on_progress(min(done, self._total), self._total)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write down the loss of the step; stop if it is not finite."""
        if "loss" not in kwargs["logs"]:
            return
        loss = float(kwargs["logs"]["loss"])
        if not math.isfinite(loss):
            msg = (
                f"the training loss is {loss} at step {state.global_step}; lower the learning "
                "rate, or use a dtype with more range (bfloat16 or float32)"
            )
            raise NonFiniteError(msg)
        self.log.losses.append(loss)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Hand the model and the optimizer over, and count the epoch."""
        if self._on_epoch_end is not None:
            self._on_epoch_end(self._epoch, kwargs["model"], kwargs["optimizer"])
        self._epoch += 1
