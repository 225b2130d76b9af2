"""Per-example gradients of a batch, at the cost of one forward and backward pass.

Shapes: B batch, T tokens, D parameters, d coordinates of one parameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import torch

from bids_core.gradients.capture import Capture, UnknownLayoutError
from bids_core.gradients.plan import deterministic, frozen, plan_for
from bids_core.models.attention import fast_attention
from bids_core.models.loss import LabelRows, example_losses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from bids_core.gradients.capture import Observer
    from bids_core.gradients.parameters import Slot
    from bids_core.gradients.plan import CapturePlan


# Keeps a token's gradient above float16's smallest number (6e-8) and far below its largest (65504).
_HALF_LOSS_SCALE: Final = 1024.0


class Sink(Protocol):
    """Takes the gradients of a batch piece by piece."""

    def begin(self, batch_size: int) -> None:
        """Start a batch; called again if the batch has to be started over."""

    def take(self, slot: Slot, grads_Bd: torch.Tensor) -> None:
        """Take one parameter's gradients, float32; each parameter comes once, in any order."""


def per_example_gradients(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the gradient of each example's own loss.

    The loss of an example is the mean cross-entropy of its completion tokens (LESS section 2).
    Dropout is off. Equal to a loop over batches of one up to rounding.

    Args:
        model: a Hugging Face causal language model, usually wrapped by PEFT.
        batch: `input_ids`, `attention_mask`, `labels` [B, T]; labels are -100 outside the
            completion; padding on either side.

    Returns:
        [B, D] float32; trainable parameters in the order of `model.named_parameters()`.

    Raises:
        DataError: a row has no completion token.
        ModelError: nothing is trainable.
    """
    collected = _Collect()
    stream_gradients(model, batch, collected)
    return collected.grads_BD


def stream_gradients(
    model: nn.Module,
    batch: Mapping[str, torch.Tensor],
    sink: Sink,
    *,
    observe: Observer | None = None,
) -> torch.Tensor:
    """Hand the per-example gradients of a batch to `sink`, one parameter at a time.

    [B, D] is never held: a parameter's gradients are dropped once the sink has taken them.
    `observe`, if given, receives the inputs and output gradients of the layers.

    Returns:
        [B] float32, the examples' losses.

    Raises:
        DataError: a row has no completion token.
        ModelError: nothing is trainable.
    """
    plan = plan_for(model)
    device = next(model.parameters()).device
    batch = {name: value.to(device) for name, value in batch.items()}
    rows = LabelRows.of_batch(batch)
    n_tokens = batch["labels"].shape[1]
    with deterministic(model), fast_attention(model, n_tokens), torch.enable_grad():
        while True:
            sink.begin(len(batch["labels"]))
            try:
                losses = _run_taps(model, plan, batch, rows, sink, observe)
                break
            except UnknownLayoutError as error:  # a layer the probe did not reach
                plan.loop_layer(model, error.layer, "its input is not laid out by example")
        if plan.looped:
            losses = _run_loop(model, plan, batch, sink)
    return losses


def _run_taps(
    model: nn.Module,
    plan: CapturePlan,
    batch: dict[str, torch.Tensor],
    rows: LabelRows,
    sink: Sink,
    observe: Observer | None,
) -> torch.Tensor:
    shape = (batch["input_ids"].shape[0], batch["input_ids"].shape[1])
    if not plan.tapped:
        return torch.empty(0)
    half = any(parameter.dtype == torch.float16 for parameter in model.parameters())
    scale = _HALF_LOSS_SCALE if half else 1.0
    capture = Capture(
        model,
        plan.tapped,
        head=plan.head,
        flat_is_batch=plan.flat_is_batch,
        observe=observe,
        loss_scale=scale,
    )
    with frozen(plan.slots), capture.attached(rows, shape, sink.take):
        losses = example_losses(model, batch, rows, head=plan.head)
        if losses.requires_grad:
            (losses.sum() * scale).backward()  # type: ignore[no-untyped-call]
    return losses.detach()


def _run_loop(
    model: nn.Module, plan: CapturePlan, batch: dict[str, torch.Tensor], sink: Sink
) -> torch.Tensor:
    """Run one autograd pass per example, for the parameters that taps cannot handle."""
    slots = [slot for slot in plan.slots if slot in plan.looped]
    size = len(batch["labels"])
    grads = [torch.zeros(size, slot.numel, device=slot.parameter.device) for slot in slots]
    losses = []
    for index in range(size):
        one = {name: value[index : index + 1] for name, value in batch.items()}
        with frozen(plan.slots, but=slots):
            loss = example_losses(model, one, LabelRows.of_batch(one), head=plan.head)[0]
            found = torch.autograd.grad(loss, [s.parameter for s in slots], allow_unused=True)
        for grad, into in zip(found, grads, strict=True):
            if grad is not None:
                into[index] = grad.reshape(-1)
        losses.append(loss.detach())
    for slot, grad in zip(slots, grads, strict=True):
        sink.take(slot, grad)
    return torch.stack(losses)


class _Collect:
    """Collects the whole [B, D]."""

    def __init__(self) -> None:
        self._size = 0
        self._pieces: dict[Slot, torch.Tensor] = {}

    def begin(self, batch_size: int) -> None:
        self._size = batch_size
        self._pieces = {}

    def take(self, slot: Slot, grads_Bd: torch.Tensor) -> None:
        self._pieces[slot] = grads_Bd

    @property
    def grads_BD(self) -> torch.Tensor:
        """[B, D] float32, in parameter order."""
        ordered = sorted(self._pieces, key=lambda slot: slot.offset)
        device = self._pieces[ordered[0]].device
        return torch.cat([self._pieces[slot].to(device) for slot in ordered], dim=1)
