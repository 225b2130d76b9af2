"""What a run will take: time, disk and memory, from token counts and a measured speed.

The model is a plain count: every stage's tokens divided by the tokens per second of one forward
and backward pass measured on this machine, on this data, with this model.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from bids_core.data.batches import collate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peft import PeftModel

    from bids_core.config import RunConfig
    from bids_core.data import PreparedData
    from bids_core.records import TokenizedExample

_PROBE_TOKENS: Final = 1024
_FORWARD_SHARE: Final = 1 / 3
"""A forward pass alone against forward and backward with frozen base weights."""
_BYTES: Final = {"int8": 1, "float16": 2, "float32": 4}


@dataclass(frozen=True, slots=True)
class Speed:
    """Measured speed.

    Args:
        tokens_per_second: forward and backward of the adapters.
        n_trainable: adapter parameters D.
        model_bytes: of the base weights as loaded.
    """

    tokens_per_second: float
    n_trainable: int
    model_bytes: int


@dataclass(frozen=True, slots=True)
class StageCost:
    """Estimate of one stage: name, seconds, bytes on disk, and what the numbers rest on."""

    stage: str
    seconds: float
    disk_bytes: int
    basis: str


def measure_speed(
    model: PeftModel, examples: Sequence[TokenizedExample], *, pad_token_id: int
) -> Speed:
    """Time one forward and backward pass of about 1,000 tokens, after one to warm up."""
    lengths = sorted(range(len(examples)), key=lambda i: examples[i].n_tokens)
    middle = lengths[len(lengths) // 2 :]
    batch: list[TokenizedExample] = []
    for index in middle:
        batch.append(examples[index])
        if sum(example.n_tokens for example in batch) >= _PROBE_TOKENS:
            break
    device = next(model.parameters()).device
    inputs = {k: v.to(device) for k, v in collate(batch, pad_token_id=pad_token_id).items()}
    seconds = [_timed_pass(model, inputs) for _ in range(2)][-1]
    model.zero_grad(set_to_none=True)
    return Speed(
        tokens_per_second=sum(example.n_tokens for example in batch) / seconds,
        n_trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
        model_bytes=sum(
            p.numel() * p.element_size() for p in model.parameters() if not p.requires_grad
        ),
    )


def _timed_pass(model: PeftModel, inputs: dict[str, torch.Tensor]) -> float:
    started = time.perf_counter()
    model(**inputs).loss.backward()
    if inputs["input_ids"].is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def estimate(config: RunConfig, data: PreparedData, speed: Speed) -> list[StageCost]:
    """Return the estimated cost of each stage that spends anything worth naming."""
    rate = speed.tokens_per_second
    pool, held = (
        int(data.train.frame["n_tokens"].sum()),
        int(data.validation.frame["n_tokens"].sum()),
    )
    n_pool, n_validation = len(data.train), len(data.validation)
    checkpoints = config.warmup.epochs
    adapter = 4 * speed.n_trainable
    dim = speed.n_trainable if config.gradients.projection == "none" else config.gradients.dim
    row = dim * _BYTES.get(config.gradients.storage, 4) + 4
    warm_tokens = config.warmup.fraction * pool * checkpoints
    costs = [
        StageCost("warmup", warm_tokens / rate, 3 * adapter * checkpoints,
                  f"{warm_tokens:,.0f} tokens; adapter and two moments a checkpoint"),
        StageCost("gradients", checkpoints * (pool + held) / rate,
                  checkpoints * (n_pool + n_validation) * row,
                  f"{checkpoints * (pool + held):,} tokens; {row:,} bytes a row and checkpoint"),
        StageCost("attribution", checkpoints * n_pool * row / 1e9, 4 * n_pool * n_validation,
                  f"{n_pool:,} x {n_validation:,} float32"),
    ]  # fmt: skip
    if config.finetune.enabled:
        budget = config.selection.budget
        share = budget if isinstance(budget, float) else budget / max(1, n_pool)
        methods = len(config.selection.methods)
        tokens = min(1.0, share) * pool * config.finetune.epochs * methods
        costs.append(StageCost("finetune", tokens / rate, adapter * methods,
                               f"{tokens:,.0f} tokens, {methods} methods"))  # fmt: skip
        if config.test:
            costs.append(_evaluation_cost(config, data, rate, methods))
    return costs


def _evaluation_cost(config: RunConfig, data: PreparedData, rate: float, methods: int) -> StageCost:
    models = methods + int(config.evaluation.zero_shot)
    frame = data.test.frame
    longest = {
        task.task: task.max_new_tokens for task in config.test if task.metric == "exact_match"
    }
    generated = sum(longest.get(name, 0) for name in frame["task"])
    forward = 2 * int(frame["n_tokens"].sum())  # once for the loss, once to read the prompt
    # a generated token costs about as much as five read ones on a CPU: memory bound, not compute
    seconds = models * (_FORWARD_SHARE * forward + 5 * _FORWARD_SHARE * generated) / rate
    return StageCost(
        "evaluation",
        seconds,
        0,
        f"{models} models, {len(frame):,} rows, at most {generated:,} new tokens",
    )
