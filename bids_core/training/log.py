"""The log of a training, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class TrainingLog:
    """The steps that ran.

    Args:
        losses: mean token loss of each optimizer step.
        learning_rates: learning rate of each optimizer step.
        epochs: epoch (from 0) that each step belongs to.
        tokens: tokens seen, without padding.
        seconds: wall time.
    """

    losses: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
