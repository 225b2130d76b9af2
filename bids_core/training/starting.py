"""The model with the adapters whose gradients a run computes, before it trains them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_core.models.adapters import add_lora
from bids_core.models.load import load_adapter, load_base

if TYPE_CHECKING:
    from peft import PeftModel

    from bids_core.config import RunConfig


def starting_model(config: RunConfig) -> PeftModel:
    """Return the base model with fresh adapters, or with those of the first given checkpoint.

    Raises:
        ModelError: it cannot be loaded.
    """
    if config.warmup.checkpoints:
        from bids_core.training.external import find_checkpoints

        first = find_checkpoints(config.warmup.checkpoints)[0]
        return load_adapter(config.model, first, trainable=True)
    return add_lora(load_base(config.model), config.lora, seed=config.seed)
