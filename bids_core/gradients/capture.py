"""Per-example gradients of linear layers, read off an ordinary batched backward pass.

For a layer y = W x the gradient of example b is sum_t g_bt x_bt', with g the gradient of the loss
at y. A forward hook puts an identity (a tap) on the layer's output, which keeps x and forms that
sum in the backward pass. Meanwhile the weights do not require a gradient, so autograd does no work
that would be thrown away. LoRA's two factors are plain linear layers.

The contributions of a layer that runs several times in one forward pass add up: every tap of a
parameter also takes a scalar token, and autograd accumulates into the token only when the last tap
is done.

Shapes: B batch, T tokens, n label positions, I inputs and O outputs of a layer.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from bids_core.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bids_core.gradients.parameters import Slot
    from bids_core.models.loss import LabelRows


class Observer(Protocol):
    """Called for every call of a tapped layer in the backward pass."""

    def __call__(self, module: nn.Module, x_BTI: torch.Tensor, grad_BTO: torch.Tensor) -> None:
        """Receive a layer's input and the gradient of its output, float32, by example."""


class Consumer(Protocol):
    """Takes the gradients of a batch parameter by parameter, each parameter once."""

    def __call__(self, slot: Slot, grads_Bd: torch.Tensor) -> None:
        """Take one parameter's gradients, [B, slot.numel] float32; may change them in place."""


def owners(model: nn.Module, slot: Slot) -> list[tuple[nn.Module, str]]:
    """Return the modules that hold a parameter, each with the parameter's name in it."""
    return [
        (module, name)
        for module in model.modules()
        for name, value in module.named_parameters(recurse=False, remove_duplicate=False)
        if value is slot.parameter
    ]


def can_be_tapped(model: nn.Module, slot: Slot) -> bool:
    """Return whether every module that holds the parameter is a plain linear layer."""
    return all(
        type(module) in (nn.Linear, Conv1D) and name in ("weight", "bias")
        for module, name in owners(model, slot)
    )


class Capture:
    """Taps on a model for one batch at a time.

    Args:
        model: the model; its parameters are those of `slots`.
        slots: the parameters to capture, used by linear layers only.
        head: the output head, inside which rows are label positions instead of tokens.
        flat_is_batch: names of modules whose two-dimensional inputs are the batch's tokens in
            order (see `plan`); such inputs anywhere else are refused.
        observe: receives the layers' inputs and output gradients, if given.
        loss_scale: factor the loss was multiplied by, a power of two; divided out again.
    """

    def __init__(
        self,
        model: nn.Module,
        slots: Sequence[Slot],
        *,
        head: nn.Module | None,
        flat_is_batch: frozenset[str] = frozenset(),
        observe: Observer | None = None,
        loss_scale: float = 1.0,
    ) -> None:
        self._observe = observe
        self._loss_scale = loss_scale
        self.head = head
        self.flat_is_batch = flat_is_batch
        self.flat_seen: set[str] = set()
        self._slots = slots
        self._taps: dict[nn.Module, dict[str, Slot]] = {}
        wanted = {id(slot.parameter): slot for slot in slots}
        for module in model.modules():  # one pass over the model: this runs for every batch
            for name, value in module.named_parameters(recurse=False, remove_duplicate=False):
                if id(value) in wanted:
                    self._taps.setdefault(module, {})[name] = wanted[id(value)]
        self._names = {module: name for name, module in model.named_modules()}
        self._inside_head = False
        self._rows: LabelRows | None = None
        self._consumer: Consumer | None = None
        self._tokens: dict[Slot, torch.Tensor] = {}
        self._sums: dict[Slot, torch.Tensor] = {}
        self._delivered: set[Slot] = set()
        self._shape_BT = (0, 0)

    @contextmanager
    def attached(
        self, rows: LabelRows, shape_BT: tuple[int, int], consumer: Consumer
    ) -> Iterator[None]:
        """Deliver to `consumer` the gradients of the backward pass run in this context."""
        self._rows, self._shape_BT, self._consumer = rows, shape_BT, consumer
        self._sums, self._delivered = {}, set()
        self._tokens = {slot: self._token(slot) for slot in self._slots}
        handles = [module.register_forward_hook(self._tap) for module in self._taps]
        if self.head is not None:
            # prepended and appended, so that everything inside the head sees the flag
            handles.append(self.head.register_forward_pre_hook(self._enter_head, prepend=True))
            handles.append(self.head.register_forward_hook(self._leave_head, always_call=True))
        try:
            yield
            self._deliver_zeros()
        finally:
            for handle in handles:
                handle.remove()
            self._inside_head, self._tokens, self._sums, self._consumer = False, {}, {}, None

    def _token(self, slot: Slot) -> torch.Tensor:
        token = torch.zeros((), device=slot.parameter.device, requires_grad=True)
        token.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
            lambda _token: self._deliver(slot)
        )
        return token

    def _deliver(self, slot: Slot) -> None:
        if slot in self._delivered:
            msg = (
                f"parameter {slot.name!r} is used in more than one re-entrant checkpoint; enable "
                "gradient checkpointing with use_reentrant=False"
            )
            raise ModelError(msg)
        self._delivered.add(slot)
        assert self._consumer is not None  # noqa: S101 - for the type checker
        sums = self._sums.pop(slot)
        if self._loss_scale != 1:
            sums.div_(self._loss_scale)
        self._consumer(slot, sums.reshape(len(sums), slot.numel))

    def _deliver_zeros(self) -> None:
        """Deliver zeros for the parameters that the loss of this batch does not depend on."""
        for slot in self._slots:
            if slot not in self._delivered:
                self._sums[slot] = torch.zeros(
                    (self._shape_BT[0], *slot.shape), device=slot.parameter.device
                )
                self._deliver(slot)

    def _enter_head(self, _module: nn.Module, _args: tuple[Any, ...]) -> None:
        self._inside_head = True

    def _leave_head(self, _module: nn.Module, _args: tuple[Any, ...], _output: object) -> None:
        self._inside_head = False

    def _tap(self, module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        tokens = [self._tokens[slot] for slot in self._taps[module].values()]
        tapped: torch.Tensor = _Tap.apply(  # type: ignore[no-untyped-call]
            self, module, self._inside_head, output, args[0], *tokens
        )
        return tapped

    def add(
        self, module: nn.Module, inside_head: bool, x: torch.Tensor, grad: torch.Tensor
    ) -> None:
        """Add one call's contribution to the gradients of a module's parameters."""
        x_BTI, grad_BTO = self._by_example(module, inside_head, x, grad)
        if self._observe is not None:
            self._observe(module, x_BTI, grad_BTO)
        for name, slot in self._taps[module].items():
            if name == "bias":
                piece = grad_BTO.sum(1)
            elif isinstance(module, Conv1D):  # weight [I, O]
                piece = torch.bmm(x_BTI.transpose(1, 2), grad_BTO)
            else:  # weight [O, I]
                piece = torch.bmm(grad_BTO.transpose(1, 2), x_BTI)
            known = self._sums.get(slot)
            self._sums[slot] = piece if known is None else known.add_(piece)

    def _by_example(
        self, module: nn.Module, inside_head: bool, x: torch.Tensor, grad: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a layer's input and output gradient as [B, T, ·], float32."""
        size, length = self._shape_BT
        x, grad = x.float(), grad.float()
        if size == 1:
            return x.reshape(1, -1, x.shape[-1]), grad.reshape(1, -1, grad.shape[-1])
        if inside_head and x.shape[:-1] == (1, len(self._row_example())):
            return self._padded(x[0]), self._padded(grad[0])
        if x.ndim >= 3 and x.shape[0] == size:
            return x.reshape(size, -1, x.shape[-1]), grad.reshape(size, -1, grad.shape[-1])
        name = self._names[module]
        if x.ndim == 2 and len(x) == size * length:
            self.flat_seen.add(name)
            if name in self.flat_is_batch:
                return x.view(size, length, -1), grad.view(size, length, -1)
        msg = (
            f"layer {name!r} gets an input of shape {tuple(x.shape)} in a batch of {size} "
            f"examples of {length} tokens, so its gradients cannot be separated by example"
        )
        raise UnknownLayoutError(msg, name)

    def _row_example(self) -> torch.Tensor:
        assert self._rows is not None  # noqa: S101 - for the type checker
        return self._rows.example

    def _padded(self, values_nH: torch.Tensor) -> torch.Tensor:
        """Spread label positions over [B, most labels of an example, ·], zeros elsewhere."""
        assert self._rows is not None  # noqa: S101 - for the type checker
        rows = self._rows.to(values_nH.device)
        padded = values_nH.new_zeros(len(rows.counts), int(rows.counts.max()), values_nH.shape[-1])
        padded[rows.example, rows.rank] = values_nH
        return padded


class UnknownLayoutError(ModelError):
    """The rows of a layer's input cannot be assigned to the examples of the batch."""

    def __init__(self, message: str, layer: str) -> None:
        super().__init__(message)
        self.layer = layer


class _Tap(torch.autograd.Function):
    """Identity whose backward adds the layer's per-example gradients to a `Capture`."""

    @staticmethod
    def forward(
        ctx: Any,
        capture: Capture,
        module: nn.Module,
        inside_head: bool,
        output: torch.Tensor,
        x: torch.Tensor,
        *_tokens: torch.Tensor,
    ) -> torch.Tensor:
        ctx.capture, ctx.module, ctx.inside_head = capture, module, inside_head
        ctx.save_for_backward(x)
        ctx.n_tokens = len(_tokens)
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        ctx.capture.add(ctx.module, ctx.inside_head, x, grad)
        ones = [torch.zeros((), device=grad.device)] * ctx.n_tokens
        return (None, None, None, grad, None, *ones)
