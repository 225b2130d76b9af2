"""Running out of memory: how to recognise it, and how to free what can be freed."""

from __future__ import annotations

import ctypes
import gc
import resource
from pathlib import Path
from typing import Final

_MAC_UNITS: Final = 1024  # ru_maxrss is in KiB on Linux


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means out of memory; torch's CPU allocator has no class for it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in words or "allocate memory" in words
    )


def free_memory() -> None:
    """Collect garbage, and return cached blocks to the device."""
    import torch

    gc.collect()
    return_heap()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def return_heap() -> None:
    """Give freed heap blocks back to the system, if the C library can (glibc).

    It keeps them otherwise: after training, the process would hold on to its activations.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def peak_memory() -> int:
    """Return the highest resident memory of this process in bytes, since the last reset."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAC_UNITS


def reset_peak_memory() -> None:
    """Reset the high-water mark (Linux only; elsewhere it covers the whole life of the process)."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        try:
            path.write_text("5", encoding="utf-8")
        except PermissionError:
            return  # a hardened container: the mark still covers the whole life of the process
