"""Several processes training together: which one writes, what is shared, what is gathered."""

from __future__ import annotations

import os
from typing import TypeVar

import torch

T = TypeVar("T")


def world_size() -> int:
    """Return how many processes train together (1 unless a launcher says otherwise)."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Return whether this process is the one that writes."""
    return int(os.environ.get("RANK", "0")) == 0


def from_first(value: T) -> T:
    """Return the first process's value in every process; all of them must call this."""
    if world_size() == 1:
        return value
    from accelerate.utils import broadcast_object_list  # type: ignore[import-untyped]

    found: T = broadcast_object_list([value])[0]
    return found


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor on the CPU, gathered if it is sharded."""
    gather = getattr(tensor, "full_tensor", None)
    found: torch.Tensor = tensor if gather is None else gather()
    return found.detach().cpu()
