"""Checkpoints of another training, as the run will use them.

`bids check` uses this too, so heavy imports wait until they are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_core.gradients import TRAINING_FEATURES

if TYPE_CHECKING:
    from bids_core.config import RunConfig


def needs_moments(config: RunConfig) -> bool:
    """Tell whether the training feature reads Adam's moments."""
    return TRAINING_FEATURES[config.gradients.train_feature].moments


def with_checkpoints_adapters(config: RunConfig) -> RunConfig:
    """Return the configuration with the adapters' settings of the warmup's checkpoints, if any.

    Raises:
        ConfigError: they contradict what the configuration says.
    """
    if not config.warmup.checkpoints:
        return config
    from bids_core.training.external import find_checkpoints
    from bids_core.training.foreign_adapter import agreed_lora

    first = find_checkpoints(config.warmup.checkpoints)[0]
    return config.model_copy(update={"lora": agreed_lora(config.lora, config.model, first)})


def check_checkpoints(config: RunConfig) -> list[str]:
    """Look at checkpoints of a training elsewhere as the run will use them.

    Returns:
        What works and may still be a mistake, a line each; nothing where the warmup is run here.

    Raises:
        ConfigError: one line for what will not work.
    """
    if not config.warmup.checkpoints:
        return []
    from bids_core.training.external import examine

    found = examine(config.model, config.warmup, needs_moments=needs_moments(config))
    return list(found.remarks)
