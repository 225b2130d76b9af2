"""What `WarmupCallback` saves beside adapter and moments: the learning rates used."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from bids_core.artifacts import read_small_json
from bids_core.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

KEPT: Final = "warmup.json"


@dataclass(frozen=True)
class Kept:
    """The steps that led to a checkpoint.

    Args:
        step: optimizer steps so far.
        epoch: epochs so far, as the Trainer counts.
        learning_rate: mean of `learning_rates`.
        learning_rates: of each step.
        losses: of each step; empty if the Trainer did not log every step.
    """

    step: int
    epoch: float
    learning_rate: float
    learning_rates: list[float]
    losses: list[float]


def write_kept(folder: Path, kept: Kept) -> None:
    """Write the record."""
    (folder / KEPT).write_text(json.dumps(asdict(kept), indent=1), encoding="utf-8")


def read_kept(folder: Path) -> Kept | None:
    """Read the record; None if there is none.

    Raises:
        ConfigError: it cannot be read.
    """
    path = folder / KEPT
    if not path.is_file():
        return None
    try:
        return Kept(**read_small_json(path))
    except (ValueError, TypeError) as error:
        msg = f"warmup.checkpoints: {path} was not written by WarmupCallback ({error})"
        raise ConfigError(msg) from error
