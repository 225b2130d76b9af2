"""Running out of memory: telling it from other errors, and giving back what can be given back."""

from __future__ import annotations

import ctypes
import gc


def is_out_of_memory(error: BaseException) -> bool:
    """Tell a lack of memory from other errors; torch's CPU allocator has no class of its own."""
    if isinstance(error, MemoryError):
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
    """Give freed heap blocks back to the system, where the C library can (glibc).

    It keeps them otherwise: after a training the process would go on holding its activations.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
