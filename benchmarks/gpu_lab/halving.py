"""Checks, by forcing it, that a batch too large for memory is halved without changing features.

On a GPU the allocator's limit is set between the memory for one row and for all rows. On a CPU,
whose memory cannot be limited in this way, the model itself raises an out-of-memory error from half
of the rows on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from gradients import make_examples, make_moments

from bids_core.gradients import compute_features, make_projector, n_trainable
from bids_core.models import free_memory

from .device import Device
from .models import random_llama
from .speed import halvings

if TYPE_CHECKING:
    from collections.abc import Callable

    from bids_core.gradients import Features

_TOLERANCE = 0.1  # in bfloat16 a batch of another size rounds differently, see `parity`


def halving(device: Device, *, size: str, rows: int, length: int, dim: int) -> dict[str, Any]:
    """Return how often the batch was halved, and the features' error against undisturbed ones."""
    model = random_llama(size, device.device, device.dtype)
    examples = make_examples(rows, model.config.vocab_size, length=length)
    moments, projector = make_moments(model), make_projector("sjlt", n_trainable(model), dim, 0)

    def features(tokens: int = rows * length) -> Features:
        return compute_features(
            model, examples, feature="adam", projector=projector, moments=moments,
            tokens_per_batch=tokens,
        )  # fmt: skip

    one, whole = (_reserved(device, lambda n=n: features(n)) for n in (length, rows * length))
    undisturbed = features()
    free_memory()
    with halvings() as said:
        if device.device.type == "cuda":
            limit = (one + whole) / 2
            torch.cuda.set_per_process_memory_fraction(limit / device.memory, device.device)
            try:
                found = features()
            finally:
                torch.cuda.set_per_process_memory_fraction(1.0, device.device)
        else:
            handle = model.register_forward_pre_hook(_refuse_above(rows // 2), with_kwargs=True)
            found = features()
            handle.remove()
    error = (found.values - undisturbed.values).norm(dim=1) / undisturbed.values.norm(dim=1)
    return {
        "model": size, "rows": rows, "tokens": length, "halved": len(said),
        "provoked_by": "the allocator's limit" if one else "a hook (no GPU)",
        "bytes_of_one_row": one, "bytes_of_all_rows": whole,
        "relative_error": float(error.max()),
        "ok": bool(said) and bool(error.max() <= _TOLERANCE),
    }  # fmt: skip


def _reserved(device: Device, run: Callable[[], object]) -> int:
    if device.device.type != "cuda":
        return 0
    run()  # run once before: kernels have their own workspaces
    free_memory()
    torch.cuda.reset_peak_memory_stats(device.device)
    run()
    return int(torch.cuda.max_memory_reserved(device.device))


def _refuse_above(rows: int) -> Callable[..., None]:
    def hook(_module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        if len(kwargs["input_ids"]) > rows:
            msg = "out of memory, provoked by the benchmark"
            raise torch.OutOfMemoryError(msg)

    return hook
