"""Which parameters gradients are computed for, and where each sits in the flat gradient vector.

D is the number of trainable parameters, in the order of `model.named_parameters()`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bids_core.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, eq=False)
class Slot:
    """One trainable parameter and its place in the flat gradient vector.

    Args:
        name: its name in `model.named_parameters()`.
        parameter: the parameter itself.
        offset: first coordinate in the flat vector of D.
        numel: number of coordinates.
    """

    name: str
    parameter: nn.Parameter
    offset: int
    numel: int

    @property
    def shape(self) -> torch.Size:
        """Shape of the parameter."""
        return self.parameter.shape


def trainable_slots(model: nn.Module) -> list[Slot]:
    """Return the trainable parameters in the order of `model.named_parameters()`.

    Raises:
        ModelError: nothing is trainable.
    """
    slots: list[Slot] = []
    offset = 0
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            slots.append(Slot(name, parameter, offset, parameter.numel()))
            offset += parameter.numel()
    if not slots:
        msg = "the model has no trainable parameter; load its adapter with is_trainable=True"
        raise ModelError(msg)
    return slots


def n_trainable(model: nn.Module) -> int:
    """Return D, the number of trainable parameters."""
    return sum(slot.numel for slot in trainable_slots(model))
