"""The device: its name, peak speed and memory, and how to wait for it."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from bids_core.models import free_memory, is_out_of_memory, peak_memory, reset_peak_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PEAKS = {
    "B200": 2250e12, "H200": 989e12, "H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989e12,
    "A100": 312e12, "L40S": 362e12, "A40": 150e12, "A10": 125e12, "L4": 121e12,
    "RTX 4090": 165e12, "RTX 3090": 71e12,
}  # fmt: skip
"""Dense bfloat16 operations per second, from NVIDIA's data sheets; the first matching name
counts."""
_SIDE = {"cuda": 8192, "cpu": 1024}
_REPEATS = 5


@dataclass(frozen=True)
class Device:
    """The device under test.

    Args:
        device: torch's.
        name: display name.
        dtype: of the models whose speed is measured.
        flops: its peak in that dtype, operations per second.
        peak_from: source of that number.
        memory: in bytes; 0 if the device uses the machine's memory.
    """

    device: torch.device
    name: str
    dtype: torch.dtype
    flops: float
    peak_from: str
    memory: int

    @classmethod
    def here(cls, name: str = "auto") -> Device:
        """Return the device of this machine: CUDA if there is one, otherwise the CPU."""
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:  # some of torch's calls need an index
            device = torch.device("cuda", torch.cuda.current_device())
        if device.type != "cuda":
            flops = measured_peak(device, torch.float32)
            words = f"{torch.get_num_threads()} threads of a CPU"
            return cls(device, words, torch.float32, flops, "a matrix product here", 0)
        facts = torch.cuda.get_device_properties(device)
        known = known_peak(facts.name)
        flops = known or measured_peak(device, torch.bfloat16)
        source = "its data sheet" if known else "a matrix product here"
        return cls(device, facts.name, torch.bfloat16, flops, source, facts.total_memory)

    def wait(self) -> None:
        """Wait until all work started on it is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, run: Callable[[], object]) -> float:
        """Return how long something takes on it."""
        self.wait()
        started = time.perf_counter()
        run()
        self.wait()
        return time.perf_counter() - started

    def reset_peak(self) -> None:
        """Reset the high-water mark of its memory."""
        free_memory()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            reset_peak_memory()

    def peak_bytes(self) -> int:
        """Return the peak memory in use since the reset; on a CPU, of the whole process."""
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        return peak_memory()


def known_peak(name: str) -> float | None:
    """Return the peak of a GPU by its name in torch; None if it is unknown."""
    found = (peak for part, peak in PEAKS.items() if re.search(rf"\b{part}\b", name))
    return next(found, None)


def measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Return the operations per second of a large square matrix product, the best of several."""
    side = _SIDE.get(device.type, 1024)
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(_REPEATS):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


@contextmanager
def full_float32() -> Iterator[None]:
    """Compute float32 products in full float32 (no TF32), whatever was set before."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def if_it_fits(run: Callable[[], object]) -> bool:
    """Run something; return whether memory was sufficient."""
    try:
        run()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        return True
    free_memory()  # the traceback, which keeps the tensors alive, is gone here
    return False
