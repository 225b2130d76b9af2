"""Curvature of the loss by EK-FAC, a metric for gradients: George et al. 2018, Grosse et al. 2023.

For a linear layer with input x and output gradient g the Fisher matrix is approximated in the
Kronecker eigenbasis of E[g g'] and E[x x'], with the second moments of the per-example gradients in
that basis as eigenvalues: F = Q diag(L) Q', Q = Q_G (x) Q_A, L = mean_b (Q_G' dW_b Q_A)^2. The
feature is (L + damping)^(-1/2) Q' g, so that inner products of features are g' (F + damping)^-1 g',
and cosines are cosines in the Fisher metric. Use it on both sides, train and validation. Parameters
that are not the weight of a linear layer use the diagonal (Q = 1).

This is the empirical Fisher matrix, with the labels of the data. Tokens whose gradient is zero
(padding, and whatever follows the last label) are left out.

Shapes: B batch, T tokens, I inputs and O outputs of a layer, d = I O coordinates of one parameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from bids_core.data.batches import collate, token_budget_batches
from bids_core.errors import ArtifactError
from bids_core.formatting import brief
from bids_core.gradients.capture import owners
from bids_core.gradients.engine import stream_gradients
from bids_core.gradients.parameters import Slot, trainable_slots
from bids_core.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bids_core.records import TokenizedExample

_FILE: Final = "ekfac.safetensors"
_ROUNDING: Final = 1e-6
"""Gradients below this share of a call's largest count as rounding: eight times float32's."""


class Ekfac:
    """Eigenbases and eigenvalues of every parameter's block of the Fisher matrix.

    Args:
        bases: by parameter name, (left, right) orthonormal, applied as left' dW right; absent for
            parameters that use the diagonal.
        eigenvalues: by parameter name, in the parameter's shape.
        damping: share of a block's mean eigenvalue, added to all its eigenvalues.
    """

    def __init__(
        self,
        bases: dict[str, tuple[torch.Tensor, torch.Tensor]],
        eigenvalues: dict[str, torch.Tensor],
        damping: float,
    ) -> None:
        self.bases = bases
        self.eigenvalues = eigenvalues
        self.damping = damping

    @classmethod
    def fit(
        cls,
        model: nn.Module,
        examples: Sequence[TokenizedExample],
        *,
        damping: float = 0.1,
        tokens_per_batch: int = 2048,
        pad_token_id: int = 0,
        on_progress: Progress = silent,
    ) -> Ekfac:
        """Estimate the Fisher matrix from examples, in two passes over them.

        Args:
            model: causal language model with trainable parameters.
            examples: each with a completion token; a few hundred are enough.
            damping: see the class; 0.1 is Grosse et al.'s choice.
            tokens_per_batch: padded tokens in one batch.
            pad_token_id: token that pads the batches.
            on_progress: called with how many of the 2 x len(examples) passes are done.
        """
        batches = token_budget_batches([e.n_tokens for e in examples], tokens_per_batch)
        covariances = _Covariances(model)
        squares = _Squares({})
        done = 0
        for observing in (True, False):
            if not observing:
                squares = _Squares(covariances.bases())
            for rows in batches:
                batch = collate([examples[row] for row in rows], pad_token_id=pad_token_id)
                observe = covariances.observe if observing else None
                stream_gradients(
                    model, batch, _Nothing() if observing else squares, observe=observe
                )
                done += len(rows)
                on_progress(done, 2 * len(examples))
        means = {name: total / len(examples) for name, total in squares.totals.items()}
        return cls(squares.bases, means, damping)

    def whiten(self, slot: Slot, grads_Bd: torch.Tensor) -> torch.Tensor:
        """Return (L + damping)^(-1/2) Q' g, [B, d]."""
        if slot.name not in self.eigenvalues:
            msg = f"the curvature was fitted without parameter {slot.name!r}; fit it on this model"
            raise ArtifactError(msg)
        values = self.eigenvalues[slot.name].to(grads_Bd.device)
        rotated = _rotate(self.bases.get(slot.name), slot, grads_Bd)
        # a block whose eigenvalues are all zero has only zero gradients: any scale leaves them zero
        damped = values + self.damping * values.mean() + torch.finfo(torch.float32).tiny
        return (rotated * damped.rsqrt()).reshape(len(grads_Bd), -1)

    def save(self, folder: Path) -> None:
        """Write `ekfac.safetensors`."""
        tensors = {f"eigenvalues.{name}": value for name, value in self.eigenvalues.items()}
        for name, (left, right) in self.bases.items():
            tensors[f"left.{name}"], tensors[f"right.{name}"] = left, right
        plain = {key: value.contiguous().cpu() for key, value in tensors.items()}
        save_file(plain, folder / _FILE, metadata={"damping": repr(self.damping)})

    @classmethod
    def load(cls, folder: Path, *, damping: float = 0.1) -> Ekfac:
        """Read what `save` wrote; the damping may differ.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        parts: dict[str, dict[str, torch.Tensor]] = {"eigenvalues": {}, "left": {}, "right": {}}
        try:
            for key, value in load_file(folder / _FILE).items():
                kind, name = key.split(".", 1)
                parts[kind][name] = value
            bases = {name: (left, parts["right"][name]) for name, left in parts["left"].items()}
        except (OSError, ValueError, LookupError, SafetensorError) as error:
            msg = f"the curvature in {folder} cannot be read ({brief(error)}); fit it again"
            raise ArtifactError(msg) from error
        return cls(bases, parts["eigenvalues"], damping)


def _rotate(
    bases: tuple[torch.Tensor, torch.Tensor] | None, slot: Slot, grads_Bd: torch.Tensor
) -> torch.Tensor:
    """Return left' dW right for each example, in the parameter's shape."""
    grads = grads_Bd.view(len(grads_Bd), *slot.shape)
    if bases is None:
        return grads
    left, right = (basis.to(grads.device) for basis in bases)
    return left.T @ grads @ right


class _Covariances:
    """Sums of x x' and g g' of every linear layer with a trainable weight."""

    def __init__(self, model: nn.Module) -> None:
        self._layers: dict[nn.Module, str] = {}
        for slot in trainable_slots(model):
            held = owners(model, slot)
            if len(held) == 1 and held[0][1] == "weight":
                self._layers[held[0][0]] = slot.name
        self._inputs: dict[str, torch.Tensor] = {}
        self._outputs: dict[str, torch.Tensor] = {}
        self._transposed: set[str] = set()

    def observe(self, module: nn.Module, x_BTI: torch.Tensor, grad_BTO: torch.Tensor) -> None:
        """Add one call of a layer."""
        name = self._layers.get(module)
        if name is None:
            return
        live = _live(grad_BTO)
        for sums, rows in ((self._inputs, x_BTI[live]), (self._outputs, grad_BTO[live])):
            outer = rows.T @ rows
            sums[name] = sums[name] + outer if name in sums else outer
        if isinstance(module, Conv1D):
            self._transposed.add(name)

    def bases(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Return (left, right) eigenvectors, in the order of the weight's two dimensions."""
        found = {}
        for name, inputs in self._inputs.items():
            q_in, q_out = _eigenvectors(inputs), _eigenvectors(self._outputs[name])
            found[name] = (q_in, q_out) if name in self._transposed else (q_out, q_in)
        return found


def _live(grad_BTO: torch.Tensor) -> torch.Tensor:
    """Return [B, T] bool: the positions whose gradient is more than rounding.

    Testing for exact zeros is not enough: the query of a row's first token has no gradient (its
    softmax is over one key), but depending on the kernel's rounding it is 0 or 1e-12.
    """
    size_BT = grad_BTO.abs().amax(-1)
    live: torch.Tensor = size_BT > _ROUNDING * size_BT.max()
    return live


def _eigenvectors(matrix: torch.Tensor) -> torch.Tensor:
    # on the CPU: small eigenvalues need float64, which not every device has
    vectors: torch.Tensor = torch.linalg.eigh(matrix.cpu().double())[1]
    return vectors.float().to(matrix.device)


class _Nothing:
    """A sink that drops the gradients."""

    def begin(self, batch_size: int) -> None:
        """Start a batch."""

    def take(self, slot: Slot, grads_Bd: torch.Tensor) -> None:
        """Drop them."""


class _Squares:
    """Sums over examples of the squared gradients in the eigenbases."""

    def __init__(self, bases: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
        self.bases = bases
        self.totals: dict[str, Any] = {}

    def begin(self, batch_size: int) -> None:
        """Start a batch."""

    def take(self, slot: Slot, grads_Bd: torch.Tensor) -> None:
        """Add one parameter's squares."""
        squares = _rotate(self.bases.get(slot.name), slot, grads_Bd).square().sum(0)
        self.totals[slot.name] = self.totals.get(slot.name, 0.0) + squares
