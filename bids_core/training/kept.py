"""What `WarmupCallback` leaves beside adapter and moments: the rates that ran."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

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
        learning_rates: that each step used.
        losses: of each step; empty where the Trainer did not log every step.
    """

    step: int
    epoch: float
    learning_rate: float
    learning_rates: list[float]
    losses: list[float]


def write_kept(folder: Path, kept: Kept) -> None:
    """Write it down."""
    (folder / KEPT).write_text(json.dumps(asdict(kept), indent=1), encoding="utf-8")


def read_kept(folder: Path) -> Kept | None:
    """Return what was written down; None where there is none.

    Raises:
        ConfigError: it cannot be read.
    """
    path = folder / KEPT
    if not path.is_file():
        return None
    try:
        return Kept(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        msg = f"warmup.checkpoints: {path} was not written by WarmupCallback ({error})"
        raise ConfigError(msg) from error
