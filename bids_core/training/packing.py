"""Several examples in one row, none of which sees another.

A micro-batch is laid end to end instead of being padded: positions start at zero with each example,
and attention is causal within an example and nothing else. The order of the examples and which of
them make up an optimizer step stay as they are without packing, so that losses and gradients are
the same up to rounding; padding is saved where lengths differ much, and attention costs more, for
its mask is written out.

It works for models that take `position_ids` and a four-dimensional mask (`sdpa` or `eager`
attention). A recurrent model (Mamba and its like) would carry its state across examples; so before
any training two examples are run packed and apart, and a model that tells the difference is
refused.

Shapes: T tokens of all examples together.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
import torch.nn.functional as F

from bids_core.data.batches import label_weights
from bids_core.errors import ModelError
from bids_core.models.loss import causal_lm
from bids_core.records import IGNORED_LABEL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from bids_core.records import TokenizedExample

_KERNELS: Final = ("sdpa", "eager")
_SHORT: Final = 64
_TOLERANCE: Final = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 5e-2}
"""Relative difference of a logit that rounding can make; examples that see each other differ by
far more."""


def pack(examples: Sequence[TokenizedExample]) -> dict[str, torch.Tensor]:
    """Lay examples end to end.

    Returns:
        `input_ids`, `labels`, `position_ids` (from zero in each example) and `segments` (number of
        the example), each [1, T] int64; with examples whose labels do not all count alike,
        `weights` too, [1, T] float32.
    """
    labels = [example.labels.astype(np.int64) for example in examples]
    for row in labels:
        row[0] = IGNORED_LABEL  # the example before it does not predict it
    lengths = [example.n_tokens for example in examples]
    parts = {
        "input_ids": np.concatenate([example.input_ids for example in examples]),
        "labels": np.concatenate(labels),
        "position_ids": np.concatenate([np.arange(n) for n in lengths]),
        "segments": np.repeat(np.arange(len(examples)), lengths),
    }
    packed = {
        name: torch.from_numpy(values.astype(np.int64))[None] for name, values in parts.items()
    }
    if any(example.weights is not None for example in examples):
        weights = np.concatenate([label_weights(example) for example in examples])
        packed["weights"] = torch.from_numpy(weights)[None]
    return packed


def packed_loss(
    model: nn.Module, batch: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the summed token loss of a packed batch, differentiable, and its number of labels.

    With weights: the sum of the weighted losses, and of the weights.
    """
    targets_T = F.pad(batch["labels"], (0, 1), value=IGNORED_LABEL)[0, 1:]
    kept = (targets_T != IGNORED_LABEL).nonzero().flatten()
    logits = _logits(model, batch, kept)
    targets = targets_T[kept].to(logits.device)
    if "weights" in batch:
        weights = F.pad(batch["weights"], (0, 1))[0, 1:][kept].to(logits.device)
        losses = F.cross_entropy(logits.float(), targets, reduction="none")
        return (losses * weights).sum(), weights.sum()
    return F.cross_entropy(logits.float(), targets, reduction="sum"), torch.tensor(len(kept))


def require_packable(model: nn.Module, examples: Sequence[TokenizedExample]) -> None:
    """Check that the model keeps packed examples apart.

    Raises:
        ModelError: it can not be told to, or does not.
    """
    inner: Any = causal_lm(model)
    kernel = getattr(inner.config, "_attn_implementation", None)
    accepted = inspect.signature(inner.forward).parameters
    kind = inner.config.model_type
    if kernel not in _KERNELS or not {"position_ids", "attention_mask"} <= set(accepted):
        msg = (
            f"finetune.packing: a {kind} model with {kernel} attention takes no mask that keeps "
            "packed examples apart; set finetune.packing to false"
        )
        raise ModelError(msg)
    if len(examples) < 2:
        return
    short = sorted(examples, key=lambda example: example.n_tokens)[:2]
    pair = [_cut(example) for example in short]
    was_training = model.training
    model.eval()
    with torch.no_grad():
        device = next(model.parameters()).device
        both = _all_logits(model, pack(pair), device)
        alone = torch.cat([_all_logits(model, pack([one]), device) for one in pair])
    model.train(was_training)
    worst = float((both - alone).abs().max() / alone.abs().max().clamp(min=1e-6))
    if not worst <= _TOLERANCE.get(next(model.parameters()).dtype, 5e-2):
        msg = (
            f"finetune.packing: a {kind} model lets packed examples see each other (its logits "
            f"change by {worst:.1%}); set finetune.packing to false"
        )
        raise ModelError(msg)


def _cut(example: TokenizedExample) -> TokenizedExample:
    cut = type(example)
    return cut(example.row_id, example.input_ids[:_SHORT], example.labels[:_SHORT])


def _all_logits(
    model: nn.Module, batch: dict[str, torch.Tensor], device: torch.device
) -> torch.Tensor:
    there = {name: values.to(device) for name, values in batch.items()}
    everything = torch.arange(batch["input_ids"].shape[1], device=device)
    return _logits(model, there, everything).float()


def _logits(
    model: nn.Module, batch: Mapping[str, torch.Tensor], kept: torch.Tensor
) -> torch.Tensor:
    """Return the logits at some positions, [n, V]."""
    accepted = inspect.signature(causal_lm(model).forward).parameters
    inputs: dict[str, Any] = {
        "input_ids": batch["input_ids"],
        "position_ids": batch["position_ids"],
        "attention_mask": _mask(batch["segments"][0], next(model.parameters()).dtype),
    }
    if "use_cache" in accepted:
        inputs["use_cache"] = False
    if "logits_to_keep" in accepted:
        return model(**inputs, logits_to_keep=kept).logits[0]  # type: ignore[no-any-return]
    logits: torch.Tensor = model(**inputs).logits[0]
    return logits[kept.to(logits.device)]


def _mask(segments_T: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return what is added to attention scores: 0 within an example's past, the least elsewhere."""
    same = segments_T[:, None] == segments_T[None, :]
    seen_TT = same & torch.ones_like(same).tril()
    mask_TT = torch.zeros_like(seen_TT, dtype=dtype)
    return mask_TT.masked_fill(~seen_TT, torch.finfo(dtype).min)[None, None]
