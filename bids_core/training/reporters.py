"""Checks the packages that get the loss curves of fine-tuning. Imports nothing heavy."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from bids_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


def require_reporters(names: Sequence[str]) -> None:
    """Check that the packages for loss curves are installed.

    Raises:
        ConfigError: one is missing.
    """
    for name in names:
        if find_spec(name) is None and not (name == "tensorboard" and find_spec("tensorboardX")):
            msg = f"finetune.report_to: {name} is not installed; run `pip install {name}`"
            raise ConfigError(msg)
