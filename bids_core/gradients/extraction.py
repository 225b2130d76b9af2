"""Extractors turn a batch into one feature per example, from gradients or hidden states.

Shapes: B batch, T tokens, P width of a feature, H hidden size, D parameters, d coordinates of one
parameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch

from bids_core.errors import ModelError
from bids_core.gradients.engine import stream_gradients
from bids_core.gradients.parameters import Slot, trainable_slots
from bids_core.gradients.plan import deterministic
from bids_core.gradients.training_features import (
    TRAINING_FEATURES,
    FeatureInputs,
    validation_feature,
)
from bids_core.models.loss import LabelRows, causal_lm, example_losses, output_head

if TYPE_CHECKING:
    from torch import nn

    from bids_core.gradients.ekfac import Ekfac
    from bids_core.gradients.projection import Projector
    from bids_core.training.moments import AdamMoments

__all__ = ["Extractor", "GradientExtractor", "RepresentationExtractor", "validation_feature"]


class Extractor(Protocol):
    """Computes the features of a batch."""

    @property
    def width(self) -> int:
        """Length P of a feature."""

    @property
    def eps_dominated_share(self) -> float | None:
        """Share of Adam denominators dominated by eps, None without Adam."""

    def __call__(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a batch's losses [B] and features [B, P], float32."""


class RepresentationExtractor:
    """Pools the hidden states after the last layer; no gradient is taken, nothing is projected.

    Args:
        model: causal language model.
        feature: one computed from hidden states.
    """

    eps_dominated_share = None

    def __init__(self, model: nn.Module, feature: str) -> None:
        self._model = model
        pool = TRAINING_FEATURES[feature].pool
        if pool is None:
            msg = f"the {feature} feature is not computed from hidden states"
            raise ValueError(msg)
        self._pool = pool
        self._head = output_head(model)
        config: Any = causal_lm(model).config
        self.width = int(config.get_text_config().hidden_size)

    @torch.no_grad()
    def __call__(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a batch's losses [B] and features [B, H], float32."""
        device = next(self._model.parameters()).device
        batch = {name: value.to(device) for name, value in batch.items()}
        states: list[torch.Tensor] = []
        if self._head is None:
            msg = "the model has no output head, so its last hidden states cannot be read"
            raise ModelError(msg)
        # prepended: it sees all positions, before those without a label are dropped
        handle = self._head.register_forward_pre_hook(
            lambda _module, args: states.append(args[0]), prepend=True
        )
        try:
            with deterministic(self._model):
                rows = LabelRows.of_batch(batch)
                losses = example_losses(self._model, batch, rows, head=self._head)
        finally:
            handle.remove()
        return losses, self._pool(states[0], batch["attention_mask"])


class GradientExtractor:
    """Turns gradients into features and projects them as they come, parameter by parameter.

    Args: as `features.compute_features`.
    """

    def __init__(
        self,
        model: nn.Module,
        projector: Projector,
        feature: str,
        moments: AdamMoments | None,
        options: dict[str, Any],
        curvature: Ekfac | None,
    ) -> None:
        self._model = model
        slots = trainable_slots(model)
        total = sum(slot.numel for slot in slots)
        if projector.n_parameters != total:
            msg = f"the projector is for {projector.n_parameters} parameters, the model has {total}"
            raise ValueError(msg)
        make = TRAINING_FEATURES[feature].change
        if make is None:
            msg = f"the {feature} feature is not computed from gradients"
            raise ValueError(msg)
        self._change = make(FeatureInputs(slots, moments, curvature, options))
        self._projector = projector
        self._n_rows = 0
        self._out_BP: torch.Tensor | None = None

    @property
    def width(self) -> int:
        """Length P of a feature."""
        return self._projector.dim

    def __call__(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a batch's losses [B] and features [B, P], float32."""
        losses = stream_gradients(self._model, batch, self)
        assert self._out_BP is not None  # noqa: S101 - take() ran for every parameter
        return losses.float(), self._out_BP

    def begin(self, batch_size: int) -> None:
        """Start a batch."""
        self._n_rows, self._out_BP = batch_size, None

    def take(self, slot: Slot, grads_Bd: torch.Tensor) -> None:
        """Add one parameter's part of the feature."""
        if self._out_BP is None:
            device = grads_Bd.device
            self._out_BP = torch.zeros(self._n_rows, self._projector.dim, device=device)
        piece = self._change(slot, grads_Bd).to(self._out_BP.device)
        self._projector.add_(self._out_BP, piece, offset=slot.offset)

    @property
    def eps_dominated_share(self) -> float | None:
        """Share of denominators dominated by eps."""
        share: float | None = getattr(self._change, "eps_dominated_share", None)
        return share
