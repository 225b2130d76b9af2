"""What a run will cost: time, disk and memory, from token counts and a speed.

The cost model is a plain count: each stage's tokens divided by the tokens per second of a forward
and backward pass; memory is counted in `footprint`. The speed is measured on this machine, with
this data and model (`bids check`), or for a run elsewhere planned from the sizes of a model and a
GPU (`planned_speed`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from bids_core.data.batches import collate
from bids_core.evaluation.metrics import METRICS
from bids_core.gradients import TRAINING_FEATURES
from bids_core.gradients.training_features import FORWARD_SHARE
from bids_core.influence.matrix import RESIDENT_BYTES
from bids_core.influence.normalization import NORMALIZATIONS
from bids_core.models.attention import fast_attention
from bids_core.models.loss import LabelRows, example_losses, output_head
from bids_core.planning.footprint import Batch, ModelSize, evaluation_memory, training_memory
from bids_core.selection import METHODS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peft import PeftModel

    from bids_core.config import OptimizerConfig, RunConfig
    from bids_core.data import PreparedData
    from bids_core.records import TokenizedExample

_PROBE_TOKENS: Final = 1024
_PROBE_PASSES: Final = 3
_FULL_SHARE: Final = 3 / 2
"""Cost of training all weights relative to adapters: three products per weight instead of two."""
_DECODING_SHARE: Final = 5
"""Cost of a generated token relative to a read one: decoding waits for memory, not arithmetic."""
_CURVATURE_ROWS: Final = 512  # tasks.curvature fits EK-FAC to this many, in two passes
_ENTRIES_PER_SECOND: Final = 1e8
"""Entries of the matrix that a method reads per second: BIDS, measured (docs/selection.md)."""
_PRODUCTS_PER_SECOND: Final = 6.8e10
"""Operations of attribution per second: 288,000 x 350 x 8,192 in 24.3 s on two cores
(docs/gradients.md)."""
_READ_PER_SECOND: Final = 1e9
"""Bytes of the gradient store that attribution reads per second, if columns are few."""
_NOT_BY_TOKENS: Final = ("attribution", "selection")
_NO_SIZE: Final = ModelSize(
    n_parameters=0, n_trainable=0, model_bytes=0, hidden_size=1, n_layers=1, intermediate_size=1,
    query_width=1, key_width=1, vocabulary=1, adapter_inputs=1,
)  # fmt: skip
"""Speed of no model: for costs that do not depend on one."""
_BYTES: Final = {"int8": 1, "float16": 2, "float32": 4}


@dataclass(frozen=True, slots=True)
class Speed:
    """A speed, measured or planned.

    Args:
        tokens_per_second: of a forward and backward pass with adapters.
        size: of the model.
    """

    tokens_per_second: float
    size: ModelSize


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows and tokens of a run.

    Args:
        generated: new tokens of the test rows, at most.
        longest: tokens of the longest pool or validation row; 0: `data.max_length`.
        longest_test: tokens of the longest test row, with its answer; 0: `data.max_length`.
        label_share: share of labels among the tokens of the pool.
    """

    pool_rows: int
    pool_tokens: int
    validation_rows: int
    validation_tokens: int
    test_rows: int = 0
    test_tokens: int = 0
    generated: int = 0
    longest: int = 0
    longest_test: int = 0
    label_share: float = 1.0

    @classmethod
    def of(cls, config: RunConfig, data: PreparedData) -> Counts:
        """Count prepared data."""
        longest = {
            task.task: task.max_new_tokens
            for task in config.test
            if METRICS[task.metric].asks == "answer"
        }
        train, validation, test = (s.frame for s in (data.train, data.validation, data.test))
        pool_tokens = int(train["n_tokens"].sum())
        return cls(
            len(train), pool_tokens,
            len(validation), int(validation["n_tokens"].sum()),
            len(test), int(test["n_tokens"].sum()),
            generated=sum(longest.get(name, 0) for name in test["task"]),
            longest=int(max(train["n_tokens"].max(), validation["n_tokens"].max())),
            longest_test=max(
                (int(n) + longest.get(name, 0)
                 for name, n in zip(test["task"], test["n_tokens"], strict=True)), default=0
            ),
            label_share=int(train["n_completion_tokens"].sum()) / max(1, pool_tokens),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class StageCost:
    """Estimate of one stage: name, seconds, bytes on disk and in memory, and their basis."""

    stage: str
    seconds: float
    disk_bytes: int
    basis: str
    memory_bytes: int = 0


def measure_speed(
    model: PeftModel,
    examples: Sequence[TokenizedExample],
    *,
    pad_token_id: int,
    checkpointing: bool = False,
) -> Speed:
    """Time one training pass over about 1,000 tokens of medium-length rows, after two untimed ones.

    The loss is that of training, which computes logits at label positions only.
    """
    by_length = sorted(examples, key=lambda example: example.n_tokens)
    middle = by_length[len(by_length) // 2 :]
    fitting = np.cumsum([example.n_tokens for example in middle]) < _PROBE_TOKENS
    batch = middle[: int(fitting.sum()) + 1]
    device = next(model.parameters()).device
    inputs = {k: v.to(device) for k, v in collate(batch, pad_token_id=pad_token_id).items()}
    seconds = [_timed_pass(model, inputs) for _ in range(_PROBE_PASSES)][-1]
    model.zero_grad(set_to_none=True)
    tokens = sum(example.n_tokens for example in batch)
    return Speed(tokens / seconds, ModelSize.of(model, checkpointing=checkpointing))


def _timed_pass(model: PeftModel, inputs: dict[str, torch.Tensor]) -> float:
    started = time.perf_counter()
    rows = LabelRows.of(inputs["labels"])
    with fast_attention(model, inputs["input_ids"].shape[1]):
        losses = example_losses(model, inputs, rows, head=output_head(model))
        losses.sum().backward()  # type: ignore[no-untyped-call]
    if inputs["input_ids"].is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def planned_speed(size: ModelSize, *, flops: float, utilisation: float) -> Speed:
    """Return a speed from sizes: two products forward and two backward per weight and token.

    Args:
        size: of the model.
        flops: peak of the device per second, in the dtype of the products.
        utilisation: share of the peak that is reached.
    """
    per_token = 4 * size.n_parameters + 6 * size.n_trainable  # adapters need weight gradients too
    return Speed(flops * utilisation / per_token, size)


def estimate(config: RunConfig, data: PreparedData, speed: Speed) -> list[StageCost]:
    """Return the estimated cost of each stage that costs anything worth mentioning."""
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
    costs.append(_selection_cost(config, counts))
    if config.finetune.enabled:
        costs.append(_finetune_cost(config, counts, speed))
        if counts.test_rows:
            costs.append(_evaluation_cost(config, counts, speed))
    return costs


def stage_tokens(config: RunConfig, counts: Counts) -> dict[str, float]:
    """Return the work of each stage whose time scales with its tokens, in training-pass tokens.

    The count is that of `estimate_counts`, for callers that measure the speed in another way.
    """
    costs = estimate_counts(config, counts, Speed(1.0, _NO_SIZE))
    return {cost.stage: cost.seconds for cost in costs if cost.stage not in _NOT_BY_TOKENS}


def memory_bytes(costs: Sequence[StageCost]) -> int:
    """Return the memory of the stage that needs most."""
    return max(cost.memory_bytes for cost in costs)


def _batch(
    config: RunConfig, counts: Counts, budget: int, *, rows: int | None = None, test: bool = False
) -> Batch:
    longest = (counts.longest_test if test else counts.longest) or config.data.max_length
    return Batch.of(budget, longest=longest, label_share=counts.label_share, rows=rows)


def _training_memory(
    config: RunConfig, counts: Counts, speed: Speed, section: OptimizerConfig, *, full: bool
) -> int:
    each = -(-section.batch_size // config.execution.processes)
    batch = _batch(config, counts, section.tokens_per_batch, rows=each)
    return training_memory(speed.size, batch, full=full)


def n_checkpoints(config: RunConfig) -> int:
    """Return how many checkpoints the warmup saves or, trained elsewhere, comes with."""
    if not config.warmup.checkpoints:
        return config.warmup.epochs_run
    from bids_core.training.external import find_checkpoints  # imports the Trainer's libraries

    return len(find_checkpoints(config.warmup.checkpoints))


def checkpoint_numbers(config: RunConfig) -> list[int]:
    """Return the numbers (from 1) of the checkpoints at which gradients are computed."""
    there = n_checkpoints(config)
    wanted = config.gradients.checkpoints
    return [n for n in range(1, there + 1) if wanted is None or n in wanted]


def rows_with_gradients(config: RunConfig, counts: Counts) -> int:
    """Return how many rows of the pool get gradients, as far as it is known beforehand.

    A method's rows and random rows are assumed to overlap like two independent draws.
    """
    screen, pool = config.screen, counts.pool_rows
    drawn = config.landmarks.rows
    if screen.by is None:
        return pool if drawn is None else min(pool, drawn)
    drawn = min(pool, screen.sample if drawn is None else drawn)
    return round(screen.keep * pool + (1 - screen.keep) * drawn)


def _warmup_cost(config: RunConfig, counts: Counts, speed: Speed) -> StageCost:
    checkpoints = n_checkpoints(config)
    if config.warmup.checkpoints:
        disk = 12 * speed.size.n_trainable * checkpoints
        return StageCost("warmup", 0.0, disk, "trained elsewhere; its checkpoints are copied")
    tokens = config.warmup.fraction * counts.pool_tokens * checkpoints
    return StageCost(
        "warmup",
        tokens / speed.tokens_per_second,
        12 * speed.size.n_trainable * checkpoints,
        f"{tokens:,.0f} tokens; adapter and two moments per checkpoint",
        _training_memory(config, counts, speed, config.warmup, full=False),
    )


def _row_bytes(config: RunConfig, speed: Speed) -> int:
    section = config.gradients
    dim = section.dim
    if section.projection == "none":
        hidden = TRAINING_FEATURES[section.train_feature].hidden_states
        dim = speed.size.hidden_size if hidden else speed.size.n_trainable
    return dim * _BYTES.get(section.storage, 4) + 4


def _gradient_cost(config: RunConfig, counts: Counts, speed: Speed) -> StageCost:
    """Count one pass per row and checkpoint, forward only for hidden states, plus EK-FAC's fit.

    In the last layers only (`gradients.layers`), the backward pass is shorter in proportion.
    """
    checkpoints = len(checkpoint_numbers(config))
    feature = TRAINING_FEATURES[config.gradients.train_feature]
    n_rows = rows_with_gradients(config, counts)
    share = n_rows / max(1, counts.pool_rows)
    tokens = round(checkpoints * (share * counts.pool_tokens + counts.validation_tokens))
    layers = config.gradients.layers
    reach = min(1.0, layers / speed.size.n_layers) if layers and speed.size.n_layers else 1.0
    backward = 1.0 if feature.hidden_states else FORWARD_SHARE + (1 - FORWARD_SHARE) * reach
    passes = float(tokens) * feature.passes * backward
    fit = ""
    if feature.curvature:
        n_fit = min(_CURVATURE_ROWS, n_rows)
        passes += 2 * checkpoints * n_fit / max(1, counts.pool_rows) * counts.pool_tokens
        fit = f"; {feature.label} fitted to {n_fit} rows per checkpoint"
    row = _row_bytes(config, speed)
    return StageCost(
        "gradients",
        passes / speed.tokens_per_second,
        checkpoints * (n_rows + counts.validation_rows) * row,
        f"{tokens:,} tokens; {row:,} bytes per row and checkpoint{fit}"
        + (f"; {n_rows:,} of {counts.pool_rows:,} rows" if n_rows < counts.pool_rows else "")
        + (f"; the last {layers} layers" if backward < 1 else ""),
        training_memory(speed.size, _batch(config, counts, config.gradients.tokens_per_batch)),
    )


def _attribution_cost(config: RunConfig, counts: Counts, speed: Speed) -> StageCost:
    checkpoints = len(checkpoint_numbers(config))
    n_rows = rows_with_gradients(config, counts)
    store = checkpoints * n_rows * _row_bytes(config, speed)
    width = _row_bytes(config, speed) // _BYTES.get(config.gradients.storage, 4)
    products = 2 * checkpoints * n_rows * counts.validation_rows * width
    matrices = 1 + (checkpoints if config.gradients.keep_checkpoints and checkpoints > 1 else 0)
    return StageCost(
        "attribution",
        max(store / _READ_PER_SECOND, products / _PRODUCTS_PER_SECOND),
        4 * matrices * n_rows * counts.validation_rows,
        f"{n_rows:,} x {counts.validation_rows:,} float32, {matrices} of them",
    )


def _representation_cost(config: RunConfig, counts: Counts, speed: Speed) -> StageCost | None:
    """Count the forward passes of methods that select by hidden states or perplexity."""
    needs = {METHODS[method].needs for method in config.selection.methods}
    if config.landmarks.rows is not None:
        needs.add("rds_plus")
    elif config.screen.by is not None:
        needs.add(METHODS[config.screen.by].needs)
    needs &= {"rds", "rds_plus", "perplexities"}
    if not needs:
        return None
    tokens = len(needs) * (counts.pool_tokens + counts.validation_tokens)
    rows = len(needs) * (counts.pool_rows + counts.validation_rows)
    return StageCost(
        "representations",
        FORWARD_SHARE * tokens / speed.tokens_per_second,
        4 * rows * max(1, speed.size.hidden_size),
        f"{tokens:,} tokens forward, {', '.join(sorted(needs))}",
    )


def _selection_cost(config: RunConfig, counts: Counts) -> StageCost:
    """Count one pass over the matrix per method, and the normalisation's extra matrices."""
    section, entries = config.selection, counts.pool_rows * counts.validation_rows
    methods = [METHODS[method] for method in section.methods]
    copies = NORMALIZATIONS[section.normalization].copies
    copies *= any(method.normalized for method in methods)
    return StageCost(
        "selection",
        len(methods) * entries / _ENTRIES_PER_SECOND,
        0,
        f"{len(methods)} methods"
        + (f"; a second matrix in float64 ({section.normalization})" if copies else ""),
        min(4 * entries, RESIDENT_BYTES) + 8 * entries * copies,
    )


def _finetune_cost(config: RunConfig, counts: Counts, speed: Speed) -> StageCost:
    budget, section = config.selection.budget, config.finetune
    share = budget if isinstance(budget, float) else budget / max(1, counts.pool_rows)
    methods = len(config.selection.methods)
    shares = [1.0 if method == "full" else min(1.0, share) for method in config.selection.methods]
    tokens = sum(shares) * counts.pool_tokens * section.epochs
    whole = section.kind == "full" or section.save == "merged"
    return StageCost(
        "finetune",
        tokens * (_FULL_SHARE if section.kind == "full" else 1.0) / speed.tokens_per_second,
        methods * (speed.size.model_bytes if whole else 4 * speed.size.n_trainable),
        f"{tokens:,.0f} tokens, {methods} methods",
        _training_memory(config, counts, speed, section, full=section.kind == "full"),
    )


def _evaluation_cost(config: RunConfig, counts: Counts, speed: Speed) -> StageCost:
    models = len(config.selection.methods) + int(config.evaluation.zero_shot)
    # each prompt is read once for the answer, its loss and all choices
    passes = FORWARD_SHARE * (counts.test_tokens + _DECODING_SHARE * counts.generated)
    return StageCost(
        "evaluation",
        models * passes / speed.tokens_per_second,
        0,
        f"{models} models, {counts.test_rows:,} rows, at most {counts.generated:,} new tokens",
        evaluation_memory(
            speed.size, _batch(config, counts, config.evaluation.tokens_per_batch, test=True)
        ),
    )
