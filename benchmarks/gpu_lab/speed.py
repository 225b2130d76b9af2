"""Features per second against the plain batched pass and bergson, by model size and row length."""

from __future__ import annotations

import logging
import statistics
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from gradients import Contender, contenders, make_examples, measure

from bids_core.models import free_memory, is_out_of_memory

from .device import Device, if_it_fits
from .models import flops_per_token, random_llama

if TYPE_CHECKING:
    from collections.abc import Iterator

CHOSEN = (
    "hf batched", "same, logits", "bids adam + sjlt", "bids adam + srht", "batch of one", "bergson",
)  # fmt: skip
PEER = "bergson"


@dataclass(frozen=True)
class Sizes:
    """The amount of work to measure.

    Args:
        models: names in `models`.
        lengths: tokens per row.
        budget: tokens of a batch, if that many fit.
        batches: per contender and round.
        rounds: of all contenders.
        dim: of the projection.
    """

    models: tuple[str, ...]
    lengths: tuple[int, ...]
    budget: int
    batches: int
    rounds: int
    dim: int


def speed(device: Device, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Yield a row for each contender, or one that reports a size that does not fit."""
    for name in sizes.models:
        for length in sizes.lengths:
            rows = _largest_that_fits(device, sizes, name, length)
            yield from rows or [{"model": name, "tokens": length, "note": "does not fit"}]
            free_memory()


def _largest_that_fits(
    device: Device, sizes: Sizes, name: str, length: int
) -> list[dict[str, Any]]:
    for checkpointing in (False, True):
        made: list[torch.nn.Module] = []
        fits = if_it_fits(
            lambda made=made, checkpointing=checkpointing: made.append(
                random_llama(name, device.device, device.dtype, checkpointing=checkpointing)
            )
        )
        if not fits:
            return []
        budget = max(length, sizes.budget)
        while budget >= length:
            rows = _measured(device, sizes, made[0], length, budget)
            if rows:
                facts = {"model": name, "tokens": length, "checkpointing": checkpointing}
                return [facts | row for row in rows]
            budget //= 2
        made.clear()
        free_memory()
    return []


def _measured(
    device: Device, sizes: Sizes, model: torch.nn.Module, length: int, budget: int
) -> list[dict[str, Any]]:
    """Return one row per contender; none if the batch does not fit for one of them."""
    count = sizes.batches * max(1, budget // length)
    examples = make_examples(count, model.config.vocab_size, length=length)
    peaks: dict[str, int] = {}
    runs: dict[str, Contender] = {}
    failed: dict[str, str] = {}

    def first_round() -> None:  # not timed: kernels are chosen, caches filled
        runs.update(contenders(model, examples, budget, sizes.dim, list(CHOSEN)))
        if device.device.type == "cuda":  # adapters and their gradients are float32 products
            runs["bids adam + sjlt, TF32"] = in_tf32(runs["bids adam + sjlt"])
        for name in list(runs):
            device.reset_peak()
            try:
                runs[name]()
                device.wait()
            except Exception as error:
                if not name.startswith(PEER) or is_out_of_memory(error):
                    raise
                failed[name] = f"failed: {error}"  # a peer: report it and leave it out
                del runs[name]
                continue
            peaks[name] = device.peak_bytes()

    with halvings() as halved:
        if not if_it_fits(first_round) or halved:
            return []
    seconds = measure(runs, sizes.rounds)
    base = statistics.median(next(iter(seconds.values())))
    flops = flops_per_token(model)
    return [
        {
            "contender": name, "budget": budget, "seconds": times,
            "features_per_s": count / statistics.median(times),
            "ratio": base / statistics.median(times),
            "share_of_peak": flops * count * length / statistics.median(times) / device.flops,
            "peak_bytes": peaks[name],
        }
        for name, times in seconds.items()
    ] + [{"contender": name, "note": note} for name, note in failed.items()]  # fmt: skip


def in_tf32(run: Contender) -> Contender:
    """Return the same contender with float32 products in TF32 (10 bits of mantissa)."""

    def faster() -> None:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            run()
        finally:
            torch.set_float32_matmul_precision(before)

    return faster


@contextmanager
def halvings() -> Iterator[list[str]]:
    """Collect the engine's messages about batches that did not fit and were halved."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "out of memory" in record.getMessage():
                said.append(record.getMessage())

    listener, logger = Listener(), logging.getLogger("bids_core")
    logger.addHandler(listener)
    try:
        yield said
    finally:
        logger.removeHandler(listener)
