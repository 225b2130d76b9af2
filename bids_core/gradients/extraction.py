"""What turns a batch into one feature an example: gradients, or hidden states.

Shapes: B batch, T tokens, P width of a feature, H hidden size, D parameters, d coordinates of one
parameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch

from bids_core.errors import ModelError
from bids_core.gradients.engine import stream_gradients
from bids_core.gradients.optimizer_update import AdamMode, AdamTerms
from bids_core.gradients.parameters import Slot, trainable_slots
from bids_core.gradients.plan import deterministic
from bids_core.gradients.pooling import last_token, weighted_mean
from bids_core.models.loss import LabelRows, causal_lm, example_losses, output_head

if TYPE_CHECKING:
    from torch import nn

    from bids_core.gradients.ekfac import Ekfac
    from bids_core.gradients.projection import Projector
    from bids_core.training.moments import AdamMoments

FeatureKind = Literal["adam", "sgd", "sign", "ekfac", "rds", "rds_plus"]


def validation_feature(train_feature: FeatureKind) -> FeatureKind:
    """Return the feature that validation instances get beside a training feature.

    Adam and sign change the training side alone, as in LESS; the others are the same on both.
    """
    return "sgd" if train_feature in ("adam", "sign") else train_feature


class Extractor(Protocol):
    """Computes the features of a batch."""

    @property
    def width(self) -> int:
        """Length P of a feature."""

    @property
    def eps_dominated_share(self) -> float | None:
        """Share of Adam denominators that are mostly eps, None without Adam."""

    def __call__(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a batch's losses [B] and features [B, P], float32."""


class RepresentationExtractor:
    """Hidden states after the last layer, pooled; no gradient is taken and nothing projected.

    Args:
        model: causal language model.
        kind: `rds` (last token of the example) or `rds_plus` (mean, later tokens weighing more).
    """

    eps_dominated_share = None

    def __init__(self, model: nn.Module, kind: Literal["rds", "rds_plus"]) -> None:
        self._model = model
        self._pool = last_token if kind == "rds" else weighted_mean
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
            msg = "the model has no output head, before which its hidden states could be read"
            raise ModelError(msg)
        # prepended: it sees all positions, before those without a label are left out
        handle = self._head.register_forward_pre_hook(
            lambda _module, args: states.append(args[0]), prepend=True
        )
        try:
            with deterministic(self._model):
                rows = LabelRows.of(batch["labels"])
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
        feature: FeatureKind,
        moments: AdamMoments | None,
        adam_mode: AdamMode,
        curvature: Ekfac | None,
    ) -> None:
        self._model = model
        slots = trainable_slots(model)
        total = sum(slot.numel for slot in slots)
        if projector.n_parameters != total:
            msg = f"the projector is for {projector.n_parameters} parameters, the model has {total}"
            raise ValueError(msg)
        if feature == "adam" and moments is None:
            msg = "the adam feature needs the moments of the optimizer that ran"
            raise ValueError(msg)
        if feature == "ekfac" and curvature is None:
            msg = "the ekfac feature needs a fitted curvature (Ekfac.fit)"
            raise ValueError(msg)
        self._curvature = curvature
        self._projector = projector
        self._feature = feature
        self._terms = _terms(slots, moments, adam_mode) if feature == "adam" and moments else {}
        self._n_dominated = self._n_counted = 0
        self._dominated: list[torch.Tensor] = []
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
        self._n_dominated += sum(int(count) for count in self._dominated)
        self._n_counted += self._projector.n_parameters if self._dominated else 0
        return losses.float(), self._out_BP

    def begin(self, batch_size: int) -> None:
        """Start a batch."""
        self._n_rows, self._out_BP, self._dominated = batch_size, None, []

    def take(self, slot: Slot, grads_Bd: torch.Tensor) -> None:
        """Add one parameter's part of the feature."""
        if self._out_BP is None:
            device = grads_Bd.device
            self._out_BP = torch.zeros(self._n_rows, self._projector.dim, device=device)
        if self._feature == "adam":
            grads_Bd, n_dominated = self._terms[slot.name].update_(grads_Bd)
            self._dominated.append(n_dominated)
        elif self._feature == "sign":
            finite = torch.isfinite(grads_Bd).all(1, keepdim=True)
            grads_Bd = torch.where(finite, grads_Bd.sign(), torch.nan)
        elif self._feature == "ekfac" and self._curvature is not None:
            grads_Bd = self._curvature.whiten(slot, grads_Bd)
        piece = grads_Bd.to(self._out_BP.device)
        self._projector.add_(self._out_BP, piece, offset=slot.offset)

    @property
    def eps_dominated_share(self) -> float | None:
        """Share of denominators that are mostly eps."""
        return self._n_dominated / self._n_counted if self._n_counted else None


def _terms(slots: list[Slot], moments: AdamMoments, mode: AdamMode) -> dict[str, AdamTerms]:
    m_D, v_D = moments.flat([slot.name for slot in slots])
    terms = {}
    for slot in slots:
        part = slice(slot.offset, slot.offset + slot.numel)
        device = slot.parameter.device
        terms[slot.name] = AdamTerms(
            m_D[part].to(device), v_D[part].to(device),
            betas=moments.betas, eps=moments.eps, step=moments.step, mode=mode,
        )  # fmt: skip
    return terms
