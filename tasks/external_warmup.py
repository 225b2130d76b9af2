"""Checkpoints of another training, in the form in which the run will use them.

`bids check` uses this too, so heavy imports wait until they are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_core.gradients import TRAINING_FEATURES

if TYPE_CHECKING:
    from bids_core.config import RunConfig


def needs_moments(config: RunConfig) -> bool:
    """Return whether the training feature reads Adam's moments."""
    return TRAINING_FEATURES[config.gradients.train_feature].moments


def with_checkpoints_adapters(config: RunConfig) -> RunConfig:
    """Return the configuration with the adapter settings of the warmup's given checkpoints, if any.

    Raises:
        ConfigError: they contradict the configuration.
    """
    if not config.warmup.checkpoints:
        return config
    from bids_core.training.external import find_checkpoints
    from bids_core.training.foreign_adapter import agreed_lora

    first = find_checkpoints(config.warmup.checkpoints)[0]
    return config.model_copy(update={"lora": agreed_lora(config.lora, config.model, first)})


def check_checkpoints(config: RunConfig) -> list[str]:
    """Check the checkpoints of another training the way the run will use them.

    Returns:
        Warnings, one line each: what works but may be a mistake; none if the warmup is run here.

    Raises:
        ConfigError: something will not work; one line.
    """
    if not config.warmup.checkpoints:
        return []
    from bids_core.training.external import examine

    found = examine(config.model, config.warmup, needs_moments=needs_moments(config))
    return list(found.remarks)
