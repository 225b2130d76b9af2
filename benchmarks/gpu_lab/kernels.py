"""The projections alone, on pieces of the sizes that occur in a backward pass."""

from __future__ import annotations

import statistics
from typing import Any

import torch

from bids_core.gradients import make_projector

from .device import Device, if_it_fits
from .models import adapter_sizes

KINDS = ("sjlt", "srht")


def kernels(
    device: Device, *, models: tuple[str, ...], batch: int, dim: int, rounds: int
) -> list[dict[str, Any]]:
    """Return each projection's milliseconds per example, and its bytes of gradients per second."""
    found = []
    for name in models:
        for kind in KINDS:
            row: dict[str, Any] = {"model": name, "kind": kind, "batch": batch, "dim": dim}
            sizes = adapter_sizes(name)
            times: list[float] = []
            if if_it_fits(lambda: times.extend(_times(device, kind, sizes, batch, dim, rounds))):  # noqa: B023
                middle = statistics.median(times)
                row |= {"n_parameters": sum(sizes), "seconds": times,
                        "ms_per_example": 1000 * middle / batch,
                        "bytes_per_s": 4 * batch * sum(sizes) / middle}  # fmt: skip
            else:
                row["note"] = "does not fit"
            found.append(row)
    return found


def _times(
    device: Device, kind: str, sizes: list[int], batch: int, dim: int, rounds: int
) -> list[float]:
    projector = make_projector(kind, sum(sizes), dim, 0)  # type: ignore[arg-type]
    pieces = {size: torch.randn(batch, size, device=device.device) for size in set(sizes)}
    out = torch.zeros(batch, dim, device=device.device)

    def all_pieces() -> None:
        offset = 0
        for size in sizes:
            projector.add_(out, pieces[size], offset=offset)
            offset += size

    all_pieces()  # signs are made on the first call, and kept
    return [device.seconds(all_pieces) for _ in range(rounds)]
