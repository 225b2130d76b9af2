"""How each parameter's gradient is computed, decided once per model with a small probe.

The probe is two short made-up examples. Three checks: computing logits at label positions only must
give the same loss as computing all logits; the per-example gradients from a layer's taps must sum
to autograd's gradient of the batch; a layer that gets its input as [B * T, I] must treat each
example as it would in a batch of one. A parameter that fails goes to the loop: one autograd pass
per example, exact but slow. The decision is logged and kept for the lifetime of the model.

Shapes: B batch, T tokens, d coordinates of one parameter.
"""

from __future__ import annotations

import logging
import weakref
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import torch
from transformers.modeling_layers import GradientCheckpointingLayer

from bids_core.errors import ModelError
from bids_core.gradients.capture import Capture, UnknownLayoutError, can_be_tapped, owners
from bids_core.gradients.parameters import Slot, trainable_slots
from bids_core.models.facts import vocabulary_size
from bids_core.models.loss import LabelRows, causal_lm, example_losses, output_head
from bids_core.records import IGNORED_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

logger = logging.getLogger(__name__)

_PROBE_LENGTHS: Final = (13, 9)
# A wrong layout is off by the size of the gradient itself; rounding stays far below these.
_TOLERANCE: Final = {torch.float32: 1e-3, torch.float64: 1e-6}
_LOW_PRECISION_TOLERANCE: Final = 0.1


@dataclass
class CapturePlan:
    """How the gradients of one model's parameters are computed.

    Args:
        slots: all trainable parameters in order.
        looped: those whose gradient takes one autograd pass per example.
        head: output head, computed at label positions only; None computes all logits.
        flat_is_batch: layers whose [B * T, I] input is known to be the batch's tokens in order.
    """

    slots: list[Slot]
    looped: set[Slot] = field(default_factory=set)
    head: nn.Module | None = None
    flat_is_batch: frozenset[str] = frozenset()

    @property
    def tapped(self) -> list[Slot]:
        """Parameters whose gradients come from taps."""
        return [slot for slot in self.slots if slot not in self.looped]

    def loop_layer(self, model: nn.Module, layer: str, reason: str) -> None:
        """Move a layer's parameters to the loop."""
        module = model.get_submodule(layer)
        moved = [s for s in self.tapped if any(owner is module for owner, _ in owners(model, s))]
        self.looped.update(moved)
        logger.warning("%s: computed one example at a time (%s)", layer, reason)


_plans: weakref.WeakKeyDictionary[nn.Module, CapturePlan] = weakref.WeakKeyDictionary()


def plan_for(model: nn.Module) -> CapturePlan:
    """Return the model's plan, made on the first call and again whenever its parameters change."""
    slots = trainable_slots(model)
    known = _plans.get(model)
    if known is None or [id(s.parameter) for s in known.slots] != [id(s.parameter) for s in slots]:
        known = _plans[model] = _make(model, slots)
    return known


@contextmanager
def deterministic(model: nn.Module) -> Iterator[None]:
    """Switch dropout off, and restore every module's mode afterwards.

    Gradient checkpointing works in training mode only, so the layers it wraps stay in that mode
    unless they apply dropout themselves; their submodules do not.
    """
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer) and not _has_dropout(module):
            module.training = bool(getattr(module, "gradient_checkpointing", False))
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _has_dropout(module: nn.Module) -> bool:
    """Return whether a module applies dropout itself, with a probability stored as a number."""
    values = vars(module).items()
    return any("dropout" in name and isinstance(p, float) and p > 0 for name, p in values)


@contextmanager
def frozen(slots: Sequence[Slot], *, but: Sequence[Slot] = ()) -> Iterator[None]:
    """Let only the parameters in `but` require a gradient."""
    try:
        for slot in slots:
            slot.parameter.requires_grad_(slot in but)
        yield
    finally:
        for slot in slots:
            slot.parameter.requires_grad_(True)


def _make(model: nn.Module, slots: list[Slot]) -> CapturePlan:
    plan = CapturePlan(slots, {slot for slot in slots if not can_be_tapped(model, slot)})
    for slot in plan.looped:
        logger.warning("%s: computed one example at a time (not a linear layer)", slot.name)
    if not plan.tapped:
        return plan
    batch = _probe(model)
    with deterministic(model), torch.enable_grad():
        plan.head = _checked_head(model, batch)
        _check_taps(model, plan, batch)
    return plan


def _probe(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return two made-up examples of different length, padded on the right."""
    longest = max(_PROBE_LENGTHS)
    head = output_head(model)
    inner: Any = causal_lm(model)
    vocabulary = getattr(head, "out_features", None) or vocabulary_size(inner.config)
    if vocabulary is None:
        msg = "the model's configuration does not give the size of its vocabulary"
        raise ModelError(msg)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(int(vocabulary), (len(_PROBE_LENGTHS), longest), generator=generator)
    real = torch.arange(longest) < torch.tensor(_PROBE_LENGTHS)[:, None]
    labels = ids.masked_fill(~real, IGNORED_LABEL)
    labels[:, :3] = IGNORED_LABEL
    device = next(model.parameters()).device
    batch = {"input_ids": ids, "attention_mask": real.long(), "labels": labels}
    return {name: value.to(device) for name, value in batch.items()}


def _checked_head(model: nn.Module, batch: dict[str, torch.Tensor]) -> nn.Module | None:
    """Return the output head if computing it at label positions only leaves the loss unchanged."""
    head = output_head(model)
    if head is None:
        return None
    rows = LabelRows.of(batch["labels"])
    with torch.no_grad():
        full = example_losses(model, batch, rows, head=None)
        try:
            picked = example_losses(model, batch, rows, head=head)
        except (RuntimeError, IndexError, ValueError) as error:
            logger.warning("logits are computed at every position: %s", error)
            return None
    if _close(picked, full, next(model.parameters()).dtype):
        return head
    logger.warning("logits are computed at every position: the model mixes positions in its head")
    return None


def _check_taps(model: nn.Module, plan: CapturePlan, batch: dict[str, torch.Tensor]) -> None:
    """Move every parameter whose taps disagree with autograd on the probe to the loop."""
    everything = frozenset(name for name, _ in model.named_modules())
    while plan.tapped:
        try:
            got, flat = _tapped_sums(model, plan, batch, everything)
            break
        except UnknownLayoutError as error:
            plan.loop_layer(model, error.layer, "its input is not laid out by example")
    else:
        return
    for layer in sorted(flat):
        plan.flat_is_batch |= {layer}
    wrong = {slot for slot, (tapped, true) in got.items() if not _agree(slot, tapped, true)}
    if flat:
        wrong |= _differing_from_single(model, plan, batch)
    for slot in wrong - plan.looped:
        logger.warning("%s: computed one example at a time (probe differs)", slot.name)
    plan.looped |= wrong


def _tapped_sums(
    model: nn.Module,
    plan: CapturePlan,
    batch: dict[str, torch.Tensor],
    flat_is_batch: frozenset[str],
) -> tuple[dict[Slot, tuple[torch.Tensor, torch.Tensor]], set[str]]:
    """Return each tapped parameter's gradient summed over the batch, by taps and by autograd."""
    capture = Capture(model, plan.tapped, head=plan.head, flat_is_batch=flat_is_batch)
    sums: dict[Slot, torch.Tensor] = {}
    rows = LabelRows.of(batch["labels"])
    parameters = [slot.parameter for slot in plan.tapped]
    shape = (batch["input_ids"].shape[0], batch["input_ids"].shape[1])
    with frozen(plan.slots, but=plan.tapped):
        with capture.attached(rows, shape, lambda s, g: sums.__setitem__(s, g.sum(0))):
            losses = example_losses(model, batch, rows, head=plan.head)
            # the taps' tokens exist only in backward(), so autograd's own gradients are read from
            # .grad, and what was there before is restored
            kept = [parameter.grad for parameter in parameters]
            for parameter in parameters:
                parameter.grad = None
            losses.sum().backward()  # type: ignore[no-untyped-call]
        true = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        for parameter, grad in zip(parameters, kept, strict=True):
            parameter.grad = grad
    pairs = zip(plan.tapped, true, strict=True)
    return {slot: (sums[slot], grad.reshape(-1)) for slot, grad in pairs}, capture.flat_seen


def _differing_from_single(
    model: nn.Module, plan: CapturePlan, batch: dict[str, torch.Tensor]
) -> set[Slot]:
    """Return the tapped parameters whose gradient for the first example changes in a batch."""
    collected: list[dict[Slot, torch.Tensor]] = []
    for size in (2, 1):
        part = {name: value[:size] for name, value in batch.items()}
        rows = LabelRows.of(part["labels"])
        first: dict[Slot, torch.Tensor] = {}
        capture = Capture(model, plan.tapped, head=plan.head, flat_is_batch=plan.flat_is_batch)
        with frozen(plan.slots), capture.attached(
            rows, (size, part["input_ids"].shape[1]), lambda s, g, o=first: o.__setitem__(s, g[0])
        ):  # fmt: skip
            example_losses(model, part, rows, head=plan.head).sum().backward()  # type: ignore[no-untyped-call]
        collected.append(first)
    return {s for s in plan.tapped if not _agree(s, collected[0][s], collected[1][s])}


def _agree(slot: Slot, one: torch.Tensor, other: torch.Tensor) -> bool:
    return _close(one, other, slot.parameter.dtype)


def _close(one: torch.Tensor, other: torch.Tensor, dtype: torch.dtype) -> bool:
    tolerance = _TOLERANCE.get(dtype, _LOW_PRECISION_TOLERANCE)
    scale = other.float().norm()
    return bool((one.float() - other.float()).norm() <= tolerance * scale + 1e-30)
