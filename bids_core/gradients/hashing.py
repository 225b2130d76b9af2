"""Random bits as a function of integers: the same for every device, dtype and block size.

A bit depends on (seed, index) alone, so any part of a random matrix can be made when it is needed
and is never stored. The hash is Steele, Lea and Flood's SplitMix64 finaliser; its 64-bit arithmetic
is meant to wrap.
"""

from __future__ import annotations

from typing import Final

import torch


def _signed(value: int) -> int:
    """Return a 64-bit constant as the signed integer torch wants."""
    return value - (1 << 64) if value >= 1 << 63 else value


_GAMMA: Final = _signed(0x9E3779B97F4A7C15)
_MIX_1: Final = _signed(0xBF58476D1CE4E5B9)
_MIX_2: Final = _signed(0x94D049BB133111EB)


def hash64(index: torch.Tensor, *, seed: int) -> torch.Tensor:
    """Return 64 random bits for each integer.

    Args:
        index: int64 of any shape.
        seed: any integer.

    Returns:
        int64, the shape of `index`.
    """
    start = mix(torch.tensor(_signed(seed % (1 << 64)) ^ _GAMMA)).item()
    return mix(index * _GAMMA + int(start))


def mix(z: torch.Tensor) -> torch.Tensor:
    """Apply SplitMix64's finaliser."""
    z = (z ^ _shift_right(z, 30)) * _MIX_1
    z = (z ^ _shift_right(z, 27)) * _MIX_2
    return z ^ _shift_right(z, 31)


def _shift_right(z: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift right logically: torch's own shift keeps the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
