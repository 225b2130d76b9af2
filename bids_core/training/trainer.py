"""Training with transformers' Trainer, on the same tokens and masks as the gradients.

AdamW with a linear schedule. The learning rate of every step is recorded as used, not as planned,
because checkpoint weights are computed from it.
"""

from __future__ import annotations

import logging
import math
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.utils.data import DataLoader
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LengthGroupedSampler

from bids_core.data.batches import collate
from bids_core.errors import NonFiniteError
from bids_core.models.attention import fast_attention
from bids_core.models.loss import LabelRows, example_losses, output_head
from bids_core.progress import silent
from bids_core.records import IGNORED_LABEL
from bids_core.training.log import TrainingLog
from bids_core.training.packing import pack, packed_loss
from bids_core.training.processes import world_size
from bids_core.training.resuming import KeptOrder, Resuming, latest_checkpoint
from bids_core.training.steps import StepBatches, StepSizes, step_sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from peft import PeftModel
    from torch import nn
    from transformers import PreTrainedModel

    from bids_core.config import OptimizerConfig
    from bids_core.progress import Progress
    from bids_core.records import TokenizedExample

logger = logging.getLogger(__name__)


def train(
    model: PeftModel | PreTrainedModel,
    examples: Sequence[TokenizedExample],
    settings: OptimizerConfig,
    *,
    pad_token_id: int,
    seed: int,
    scratch: Path,
    sharded: bool = False,
    on_epoch_end: Callable[[int, PeftModel, torch.optim.Optimizer], None] | None = None,
    on_progress: Progress = silent,
    packing: bool = False,
    autocast: torch.dtype | None = None,
    checkpoint_seconds: float | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    run_name: str | None = None,
    stop_after: int | None = None,
) -> TrainingLog:
    """Train the trainable parameters of `model` in place.

    Args:
        model: base model with trainable adapters, or all of it trainable, on its device.
        examples: what to train on.
        settings: epochs, learning rate, batch size and the like.
        pad_token_id: token that fills short rows; carries no loss.
        seed: of the order of the examples and of dropout.
        scratch: folder for the Trainer's own files, and for checkpoints if there are any.
        sharded: shard the model over the processes that train together (FSDP).
        on_epoch_end: called with (epoch from 0, model, optimizer) after each epoch's last step.
        on_progress: called with (examples seen, examples in all epochs).
        packing: lay the examples of a micro-batch end to end instead of padding them.
        autocast: dtype to compute in, if the weights are float32.
        checkpoint_seconds: write a checkpoint into `scratch` about this often, and continue from
            one that a killed training left there; None: neither.
        callbacks: further callbacks of the Trainer (loss curves).
        run_name: name of the loss curves.
        stop_after: stop after this many epochs of the schedule; None: after all.

    Raises:
        NonFiniteError: the loss of a step was NaN or infinite.
    """
    sizes = step_sizes(examples, settings, packing=packing)
    arguments = _arguments(
        model,
        settings,
        sizes,
        seed=seed,
        scratch=scratch,
        bf16=autocast == torch.bfloat16,
        fp16=autocast == torch.float16,
        run_name=run_name,
        **_sharding(sharded=sharded),
    )
    n_run = settings.epochs if stop_after is None else stop_after
    watch = _Recorder(len(examples), settings.epochs, n_run, on_epoch_end, on_progress)
    trainer = _LabelTrainer(
        model=model,
        args=arguments,
        train_dataset=_Rows(examples),
        data_collator=_Collator(pad_token_id=pad_token_id, packing=packing),
        sizes=sizes,
        callbacks=[watch, *callbacks],
    )
    trainer.remove_callback(_printer())
    checkpoint = None
    if checkpoint_seconds is not None:
        trainer.add_callback(Resuming(trainer, watch.log, checkpoint_seconds, sizes.shape))
        checkpoint = latest_checkpoint(scratch, sizes.shape)
    if checkpoint is not None:
        trainer.go_on_from(checkpoint, watch.log)
    started, before = time.perf_counter(), watch.log.seconds
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    watch.log.seconds = before + time.perf_counter() - started
    watch.log.tokens = n_run * sum(example.n_tokens for example in examples)
    return watch.log


def _arguments(
    model: nn.Module,
    settings: OptimizerConfig,
    sizes: StepSizes,
    *,
    seed: int,
    scratch: Path,
    **more: Any,
) -> TrainingArguments:
    device = next(model.parameters()).device
    return TrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=sizes.micro,
        gradient_accumulation_steps=sizes.accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(settings.warmup_ratio * sizes.steps),
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
        save_total_limit=1,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,  # a NaN must be seen, not replaced by the mean so far
        report_to=[],
        project=os.environ.get("TRACKIO_PROJECT", "bids"),  # transformers does not read it itself
        disable_tqdm=True,
        dataloader_pin_memory=device.type == "cuda",
        # weights about to be sharded are on the CPU, whatever device computes
        use_cpu=device.type == "cpu" and not (world_size() > 1 and torch.cuda.is_available()),
        remove_unused_columns=False,
        **more,
    )


def _sharding(*, sharded: bool) -> dict[str, Any]:
    """Return the Trainer settings that shard a model over the processes (FSDP2)."""
    if not sharded:
        return {}
    return {"fsdp": "full_shard auto_wrap", "fsdp_config": {"version": 2}}


@dataclass(frozen=True, slots=True)
class _Collator:
    """Collates the rows of a micro-batch."""

    pad_token_id: int
    packing: bool

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        examples = [row["example"] for row in rows]
        return pack(examples) if self.packing else collate(examples, pad_token_id=self.pad_token_id)


class _LabelTrainer(Trainer):
    """Trainer that computes logits at label positions only.

    The loss is the mean over the completion tokens of the optimizer step, as in the plain Trainer
    (weighted if examples have weights); leaving out the other logits saves a small model a fifth of
    the time.
    """

    def __init__(self, *, sizes: StepSizes, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._sizes = sizes
        self.model_accepts_loss_kwargs = True  # the loss below divides by num_items_in_batch
        self.order: KeptOrder | None = None
        rows: Any = self.train_dataset
        self._weighted = any(example.weights is not None for example in rows.examples)

    def _get_num_items_in_batch(
        self, batch_samples: list[Any], device: torch.device
    ) -> torch.Tensor | int | None:
        """Return the divisor of the step's token losses: number or total weight of its labels."""
        if not self._weighted:
            return super()._get_num_items_in_batch(batch_samples, device)
        total = torch.zeros((), dtype=torch.float64)
        for batch in batch_samples:
            is_label = batch["labels"][:, 1:] != IGNORED_LABEL
            weights = batch["weights"][:, 1:] if "weights" in batch else is_label
            total += (weights * is_label).sum().double()
        total = total.to(device, torch.float32)
        if self.args.world_size > 1:
            total = self.accelerator.gather(total).sum()
        return total

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Return the summed token loss of a micro-batch, divided by the step's tokens."""
        if "position_ids" in inputs:  # packed
            summed, n_labels = packed_loss(model, inputs)
        else:
            rows = LabelRows.of_batch(inputs)
            with fast_attention(model, inputs["input_ids"].shape[1]):
                losses = example_losses(model, inputs, rows, head=output_head(model))
            summed, n_labels = (losses * rows.totals).sum(), rows.totals.sum()
        if num_items_in_batch is None:
            return summed / n_labels
        # counts over all processes, whose gradients are then averaged
        scaled: torch.Tensor = summed * self.accelerator.num_processes / num_items_in_batch
        return scaled

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the micro-batches, none of which crosses the end of its step."""
        if world_size() > 1:
            return super().get_train_dataloader()  # accelerate distributes the batches
        loader: DataLoader[Any] = DataLoader(
            cast("_Rows", self.train_dataset),
            batch_sampler=StepBatches(self._get_train_sampler(), self._sizes),
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return self.accelerator.prepare(loader)  # type: ignore[no-any-return]

    def _get_train_sampler(self, train_dataset: Any = None) -> KeptOrder:
        """Return an order grouped by length, which a resumed training can draw again."""
        if self.order is None:
            rows = self._sizes.rows
            self.order = KeptOrder(LengthGroupedSampler(rows, dataset=self.train_dataset))
        return self.order

    def go_on_from(self, checkpoint: Path, log: TrainingLog) -> None:
        """Restore the order of the examples and the log so far from a checkpoint."""
        order = self._get_train_sampler()
        for name, value in order.restore(checkpoint).items():
            setattr(log, name, value)


def _printer() -> type[TrainerCallback]:
    from transformers.trainer_callback import PrinterCallback

    return PrinterCallback


class _Rows(torch.utils.data.Dataset[dict[str, Any]]):
    """The examples, with the lengths that the length-grouping sampler reads."""

    def __init__(self, examples: Sequence[TokenizedExample]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = self.examples[index]
        return {"example": example, "input_ids": example.input_ids, "length": example.n_tokens}


class _Recorder(TrainerCallback):  # the Trainer sets the methods' signatures
    """Records the steps that ran, and stops at the first loss that is not finite."""

    def __init__(
        self,
        n_examples: int,
        n_epochs: int,
        n_run: int,
        on_epoch_end: Callable[[int, PeftModel, torch.optim.Optimizer], None] | None,
        on_progress: Progress,
    ) -> None:
        self.log = TrainingLog()
        self._n_examples, self._total = n_examples, n_examples * n_run
        self._n_epochs, self._n_run = n_epochs, n_run
        self._epoch = 0
        self._on_epoch_end = on_epoch_end
        self._on_progress = on_progress

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start counting epochs where this training begins."""
        self._epoch = state.global_step * self._n_epochs // state.max_steps

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Record the learning rate that the step is about to use."""
        self.log.learning_rates.append(float(kwargs["optimizer"].param_groups[0]["lr"]))
        self.log.epochs.append(self._epoch)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Report how many examples have been seen."""
        done = round(self._n_examples * (state.epoch or 0.0))
        self._on_progress(min(done, self._total), self._total)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Record the loss of the step; stop if it is not finite."""
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
        """Hand over model and optimizer, log the epoch's loss, count the epoch; stop when due."""
        epochs = zip(self.log.losses, self.log.epochs, strict=False)  # the last loss may come later
        losses = [loss for loss, epoch in epochs if epoch == self._epoch]
        if losses:
            mean = sum(losses) / len(losses)
            logger.info("epoch %d of %d: loss %.4f", self._epoch + 1, self._n_run, mean)
        if self._on_epoch_end is not None:
            self._on_epoch_end(self._epoch, kwargs["model"], kwargs["optimizer"])
        self._epoch += 1
        if self._epoch == self._n_run:
            control.should_training_stop = True
