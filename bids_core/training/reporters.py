"""Packages that get the loss curves of fine-tuning: are they there? Imports nothing heavy."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from bids_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


def require_reporters(names: Sequence[str]) -> None:
    """Check that the packages which get loss curves are installed.

    Raises:
        ConfigError: one is not.
    """
    for name in names:
        if find_spec(name) is None and not (name == "tensorboard" and find_spec("tensorboardX")):
            msg = f"finetune.report_to: {name} is not installed; run `pip install {name}`"
            raise ConfigError(msg)
