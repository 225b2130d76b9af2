"""The table of training features: what is computed for each example, on either side.

A feature is an entry of `TRAINING_FEATURES` and the function that makes it. A gradient feature
turns each parameter's part of a gradient into that part of the feature, before the projection; a
hidden-state feature pools the hidden states and projects nothing. A new feature is added here and
nowhere else. This file imports no torch, because the configuration reads it.

Shapes: B batch, T tokens, H hidden size, d coordinates of one parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bids_core.registry import Entry, Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from bids_core.gradients.ekfac import Ekfac
    from bids_core.gradients.parameters import Slot
    from bids_core.training.moments import AdamMoments

Change = Callable[["Slot", "torch.Tensor"], "torch.Tensor"]
"""Maps a parameter and its [B, d] float32 gradients to the [B, d] feature; may write in place."""


@dataclass(frozen=True)
class FeatureInputs:
    """What a feature may be computed from at a checkpoint.

    Args:
        slots: the trainable parameters.
        moments: state of the optimizer that ran; None if there is none.
        curvature: the fitted Fisher matrix; None where the feature needs none.
        options: values of the configuration that the feature lists in `Feature.options`.
    """

    slots: Sequence[Slot]
    moments: AdamMoments | None
    curvature: Ekfac | None
    options: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Feature(Entry):
    """One training feature.

    Args:
        change: makes the function that turns gradients into features at a checkpoint; None for
            hidden states.
        pool: maps [B, T, H] hidden states and the [B, T] token mask to [B, H]; None for gradients.
        validation: the feature of the validation instances; blank for the same one.
        options: fields of the `gradients` section that it reads; part of its identity.
        moments: whether it needs the moments of the optimizer that ran.
        curvature: whether it needs the Fisher matrix, fitted to a sample of the pool.
        passes: cost of a row, in forward and backward passes.
    """

    change: Callable[[FeatureInputs], Change] | None = None
    pool: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    validation: str = ""
    options: tuple[str, ...] = ()
    moments: bool = False
    curvature: bool = False
    passes: float = 1.0

    @property
    def hidden_states(self) -> bool:
        """Whether it is computed from hidden states: no gradient, nothing projected."""
        return self.pool is not None


def validation_feature(train_feature: str) -> str:
    """Return the feature of the validation instances that goes with a training feature.

    Adam and sign apply to the training side only, as in LESS; the others are the same on both.
    """
    return TRAINING_FEATURES[train_feature].validation or train_feature


class _Adam:
    """The direction in which Adam would move (LESS, definition 3.1).

    `eps_dominated_share` counts denominators dominated by eps, over the first example of every
    batch.
    """

    def __init__(self, inputs: FeatureInputs) -> None:
        from bids_core.gradients.optimizer_update import AdamTerms

        moments, slots = inputs.moments, inputs.slots
        if moments is None:
            msg = "the adam feature needs the moments of the optimizer that ran"
            raise ValueError(msg)
        m_D, v_D = moments.flat([slot.name for slot in slots])
        self._terms = {}
        for slot in slots:
            part = slice(slot.offset, slot.offset + slot.numel)
            device = slot.parameter.device
            self._terms[slot.name] = AdamTerms(
                m_D[part].to(device), v_D[part].to(device),
                betas=moments.betas, eps=moments.eps, step=moments.step,
                mode=inputs.options["adam_mode"],
            )  # fmt: skip
        self._dominated: dict[torch.device, torch.Tensor] = {}
        self._counted = 0

    def __call__(self, slot: Slot, grads_Bd: torch.Tensor) -> torch.Tensor:
        grads_Bd, n_dominated = self._terms[slot.name].update_(grads_Bd)
        device = n_dominated.device  # summed on the device, so as not to wait for it
        earlier = self._dominated.get(device)
        self._dominated[device] = n_dominated if earlier is None else earlier + n_dominated
        self._counted += slot.numel
        return grads_Bd

    @property
    def eps_dominated_share(self) -> float | None:
        """Share of denominators dominated by eps."""
        dominated = sum(int(count) for count in self._dominated.values())
        return dominated / self._counted if self._counted else None


def _plain(_inputs: FeatureInputs) -> Change:
    return lambda _slot, grads_Bd: grads_Bd


def _sign(_inputs: FeatureInputs) -> Change:
    import torch

    def change(_slot: Slot, grads_Bd: torch.Tensor) -> torch.Tensor:
        finite = torch.isfinite(grads_Bd).all(1, keepdim=True)
        return torch.where(finite, grads_Bd.sign(), torch.nan)

    return change


def _ekfac(inputs: FeatureInputs) -> Change:
    if inputs.curvature is None:
        msg = "the ekfac feature needs a fitted curvature (Ekfac.fit)"
        raise ValueError(msg)
    return inputs.curvature.whiten


def _last_token(hidden_BTH: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    from bids_core.gradients.pooling import last_token

    return last_token(hidden_BTH, mask_BT)


def _weighted_mean(hidden_BTH: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    from bids_core.gradients.pooling import weighted_mean

    return weighted_mean(hidden_BTH, mask_BT)


FORWARD_SHARE: Final = 1 / 3
"""Cost of a forward pass as a share of forward and backward with frozen base weights."""

TRAINING_FEATURES: Final = Registry(
    "training feature",
    (
        Feature(
            name="adam",
            what="the direction of Adam's next step (LESS)",
            label="Adam",
            change=_Adam,
            validation="sgd",
            options=("adam_mode",),
            moments=True,
        ),
        Feature(name="sgd", what="the plain gradient (TracIn)", label="SGD", change=_plain),
        Feature(
            name="sign",
            what="the sign of the gradient",
            change=_sign,
            validation="sgd",
        ),
        Feature(
            name="ekfac",
            what="the gradient in an EK-FAC metric",
            label="EK-FAC",
            change=_ekfac,
            options=("damping",),
            curvature=True,
        ),
        Feature(
            name="rds",
            what="the last token's hidden state",
            label="RDS",
            pool=_last_token,
            passes=FORWARD_SHARE,
        ),
        Feature(
            name="rds_plus",
            what="the mean of the hidden states, with more weight on later tokens",
            label="RDS+",
            pool=_weighted_mean,
            passes=FORWARD_SHARE,
        ),
    ),
)
"""Training features, by the names that users type."""
