"""What a run will take: time, disk and memory, from token counts and a speed.

The model is a plain count: every stage's tokens divided by the tokens per second of one forward
and backward pass. The speed is measured on this machine, on this data, with this model (`bids
check`); or planned from the sizes of a model and a GPU (`planned_speed`), for a run elsewhere.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from bids_core.data.batches import collate
from bids_core.selection.methods import METHODS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peft import PeftModel

    from bids_core.config import RunConfig
    from bids_core.data import PreparedData
    from bids_core.records import TokenizedExample

_PROBE_TOKENS: Final = 1024
_FORWARD_SHARE: Final = 1 / 3
"""A forward pass alone against forward and backward with frozen base weights."""
_FULL_SHARE: Final = 3 / 2
"""Training all weights against adapters: three products a weight instead of two."""
_DECODING_SHARE: Final = 5
"""A generated token against a read one: decoding waits for memory, not for arithmetic."""
_CURVATURE_ROWS: Final = 512  # tasks.curvature fits EK-FAC to as many, in two passes
_REPRESENTATIONS: Final = ("rds", "rds_plus")
_BYTES: Final = {"int8": 1, "float16": 2, "float32": 4}


@dataclass(frozen=True, slots=True)
class Speed:
    """A speed, measured or planned.

    Args:
        tokens_per_second: forward and backward of the adapters.
        n_trainable: adapter parameters D.
        model_bytes: of the base weights as loaded.
        hidden_size: width of the hidden states.
        n_parameters: of the base model; 0 where not known.
    """

    tokens_per_second: float
    n_trainable: int
    model_bytes: int
    hidden_size: int = 0
    n_parameters: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows and tokens of a run; `generated` are the new tokens of the test rows at most."""

    pool_rows: int
    pool_tokens: int
    validation_rows: int
    validation_tokens: int
    test_rows: int = 0
    test_tokens: int = 0
    generated: int = 0

    @classmethod
    def of(cls, config: RunConfig, data: PreparedData) -> Counts:
        """Count prepared data."""
        longest = {
            task.task: task.max_new_tokens
            for task in config.test
            if task.metric not in ("multiple_choice", "answer_loss")
        }
        train, validation, test = (s.frame for s in (data.train, data.validation, data.test))
        return cls(
            len(train), int(train["n_tokens"].sum()),
            len(validation), int(validation["n_tokens"].sum()),
            len(test), int(test["n_tokens"].sum()),
            sum(longest.get(name, 0) for name in test["task"]),
        )  # fmt: skip


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
        hidden_size=int(getattr(model.config, "hidden_size", 0)),
        n_parameters=sum(p.numel() for p in model.parameters() if not p.requires_grad),
    )


def _timed_pass(model: PeftModel, inputs: dict[str, torch.Tensor]) -> float:
    started = time.perf_counter()
    model(**inputs).loss.backward()
    if inputs["input_ids"].is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def planned_speed(
    *,
    n_parameters: int,
    n_trainable: int,
    hidden_size: int,
    bytes_per_weight: float = 2.0,
    flops: float,
    utilisation: float,
) -> Speed:
    """Return a speed from sizes: two products forward and two backward a weight and token.

    Args:
        n_parameters: of the base model.
        n_trainable: adapter parameters D.
        hidden_size: width of the hidden states.
        bytes_per_weight: of the base weights (2 in bfloat16, about 0.6 in 4 bits with scales).
        flops: peak of the device in the dtype of the products, a second.
        utilisation: share of the peak that is reached.
    """
    per_token = 4 * n_parameters + 6 * n_trainable  # adapters take weight gradients too
    model_bytes = int(bytes_per_weight * n_parameters)
    return Speed(flops * utilisation / per_token, n_trainable, model_bytes, hidden_size,
                 n_parameters)  # fmt: skip


def estimate(config: RunConfig, data: PreparedData, speed: Speed) -> list[StageCost]:
    """Return the estimated cost of each stage that spends anything worth naming."""
    return estimate_counts(config, Counts.of(config, data), speed)


def estimate_counts(config: RunConfig, counts: Counts, speed: Speed) -> list[StageCost]:
    """Return the estimated cost of each stage, from counts alone."""
    costs = [
        _warmup_cost(config, counts, speed),
        _gradient_cost(config, counts, speed),
        _attribution_cost(config, counts, speed),
    ]
    representations = _representation_cost(config, counts, speed)
    costs += [] if representations is None else [representations]
    if config.finetune.enabled:
        costs.append(_finetune_cost(config, counts, speed))
        if counts.test_rows:
            costs.append(_evaluation_cost(config, counts, speed))
    return costs


def memory_bytes(config: RunConfig, speed: Speed) -> int:
    """Return the memory of the largest stage, without the activations of its batch.

    Weights, adapters with gradient and two moments in float32, and 1 GiB for Python and torch; or,
    where all weights are trained, 16 bytes a weight.
    """
    lora = speed.model_bytes + 16 * speed.n_trainable
    full = 16 * speed.n_parameters if config.finetune.kind == "full" else 0
    return max(lora, full) + 2**30


def _warmup_cost(config: RunConfig, counts: Counts, speed: Speed) -> StageCost:
    checkpoints = config.warmup.epochs
    tokens = config.warmup.fraction * counts.pool_tokens * checkpoints
    return StageCost(
        "warmup",
        tokens / speed.tokens_per_second,
        12 * speed.n_trainable * checkpoints,
        f"{tokens:,.0f} tokens; adapter and two moments a checkpoint",
    )


def _row_bytes(config: RunConfig, speed: Speed) -> int:
    section = config.gradients
    dim = section.dim
    if section.projection == "none":
        hidden = section.train_feature in _REPRESENTATIONS
        dim = speed.hidden_size if hidden else speed.n_trainable
    return dim * _BYTES.get(section.storage, 4) + 4


def _gradient_cost(config: RunConfig, counts: Counts, speed: Speed) -> StageCost:
    """Count one pass a row and checkpoint; hidden states need no backward pass, EK-FAC a fit."""
    checkpoints = config.warmup.epochs
    kind = config.gradients.train_feature
    tokens = checkpoints * (counts.pool_tokens + counts.validation_tokens)
    passes = float(tokens) * (_FORWARD_SHARE if kind in _REPRESENTATIONS else 1.0)
    fit = ""
    if kind == "ekfac":
        share = min(1.0, _CURVATURE_ROWS / max(1, counts.pool_rows))
        passes += 2 * checkpoints * share * counts.pool_tokens
        fit = f"; EK-FAC fitted to {min(_CURVATURE_ROWS, counts.pool_rows)} rows a checkpoint"
    row = _row_bytes(config, speed)
    return StageCost(
        "gradients",
        passes / speed.tokens_per_second,
        checkpoints * (counts.pool_rows + counts.validation_rows) * row,
        f"{tokens:,} tokens; {row:,} bytes a row and checkpoint{fit}",
    )


def _attribution_cost(config: RunConfig, counts: Counts, speed: Speed) -> StageCost:
    store = config.warmup.epochs * counts.pool_rows * _row_bytes(config, speed)
    matrices = 1 + (config.warmup.epochs if config.gradients.keep_checkpoints else 0)
    return StageCost(
        "attribution",
        store / 1e9,  # about what one core reads and multiplies a second
        4 * matrices * counts.pool_rows * counts.validation_rows,
        f"{counts.pool_rows:,} x {counts.validation_rows:,} float32, {matrices} of them",
    )


def _representation_cost(config: RunConfig, counts: Counts, speed: Speed) -> StageCost | None:
    """Count the forward passes of methods that select by hidden states or perplexity."""
    needs = {METHODS[method].needs for method in config.selection.methods}
    needs &= {"rds", "rds_plus", "perplexities"}
    if not needs:
        return None
    tokens = len(needs) * (counts.pool_tokens + counts.validation_tokens)
    rows = len(needs) * (counts.pool_rows + counts.validation_rows)
    return StageCost(
        "representations",
        _FORWARD_SHARE * tokens / speed.tokens_per_second,
        4 * rows * max(1, speed.hidden_size),
        f"{tokens:,} tokens forward, {', '.join(sorted(needs))}",
    )


def _finetune_cost(config: RunConfig, counts: Counts, speed: Speed) -> StageCost:
    budget, section = config.selection.budget, config.finetune
    share = budget if isinstance(budget, float) else budget / max(1, counts.pool_rows)
    methods = len(config.selection.methods)
    tokens = min(1.0, share) * counts.pool_tokens * section.epochs * methods
    whole = section.kind == "full" or section.save == "merged"
    return StageCost(
        "finetune",
        tokens * (_FULL_SHARE if section.kind == "full" else 1.0) / speed.tokens_per_second,
        methods * (speed.model_bytes if whole else 4 * speed.n_trainable),
        f"{tokens:,.0f} tokens, {methods} methods",
    )


def _evaluation_cost(config: RunConfig, counts: Counts, speed: Speed) -> StageCost:
    models = len(config.selection.methods) + int(config.evaluation.zero_shot)
    forward = 2 * counts.test_tokens  # once for the loss, once to read the prompt
    passes = _FORWARD_SHARE * (forward + _DECODING_SHARE * counts.generated)
    return StageCost(
        "evaluation",
        models * passes / speed.tokens_per_second,
        0,
        f"{models} models, {counts.test_rows:,} rows, at most {counts.generated:,} new tokens",
    )
