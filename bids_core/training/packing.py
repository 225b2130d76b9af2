"""Several examples packed into one row, none of which sees another.

The examples of a micro-batch are laid end to end instead of being padded: positions start at zero
in each example, and attention is causal and confined to the example. The order of the examples and
the examples of each optimizer step are the same as without packing, so losses and gradients are the
same up to rounding. Packing saves padding if lengths differ much, but attention costs more, because
its mask is materialised.

The masks are transformers' own for packed rows, one for each kind of layer, so that a sliding
window reaches as far within an example as it does without packing. It works for models that take
`position_ids` and a prepared mask (`sdpa` or `eager` attention). A model whose layers keep a state
(such as Mamba) would carry it across examples, so it is refused. Before any training, two examples
(one longer than the model's window, if there is one) are run packed and separately, and a model
whose outputs differ is refused too.

Shapes: T tokens of all examples together.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from transformers.masking_utils import create_masks_for_generate

from bids_core.data.batches import label_weights
from bids_core.errors import ModelError
from bids_core.models.facts import attention_window, keeps_a_state, language_config
from bids_core.models.loss import causal_lm, model_inputs
from bids_core.records import IGNORED_LABEL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from bids_core.records import TokenizedExample

_KERNELS: Final = ("sdpa", "eager")
_PROBED: Final = 64
"""Tokens to compare, and the number by which an example exceeds the model's window."""
_TOLERANCE: Final = {torch.float32: 1e-3, torch.float16: 1e-2}
_BFLOAT16_TOLERANCE: Final = 3e-2
"""Relative difference of logits (in norm) that rounding can cause when kernels differ."""
_LEAK_SHARE: Final = 0.1
"""For an example's logits when the one before it changes: same kernels, so little rounding."""


def pack(examples: Sequence[TokenizedExample]) -> dict[str, torch.Tensor]:
    """Lay examples end to end.

    Returns:
        `input_ids`, `labels` and `position_ids` (from zero in each example), each [1, T] int64; if
        the examples have label weights, also `weights`, [1, T] float32.
    """
    labels = [example.labels.astype(np.int64) for example in examples]
    for row in labels:
        row[0] = IGNORED_LABEL  # not predicted by the previous example
    lengths = [example.n_tokens for example in examples]
    parts = {
        "input_ids": np.concatenate([example.input_ids for example in examples]),
        "labels": np.concatenate(labels),
        "position_ids": np.concatenate([np.arange(n) for n in lengths]),
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
    """Return the summed, differentiable token loss of a packed batch, and its number of labels.

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
    """Check that the model keeps packed examples apart, and sees each one completely.

    Raises:
        ModelError: it does not, or does not accept the mask for it.
    """
    inner: Any = causal_lm(model)
    kernel = getattr(inner.config, "_attn_implementation", None)
    accepted = inspect.signature(inner.forward).parameters
    kind = inner.config.model_type
    if keeps_a_state(model):
        msg = (
            f"finetune.packing: a {kind} model has layers that carry a state from one packed "
            "example into the next; set finetune.packing to false"
        )
        raise ModelError(msg)
    if kernel not in _KERNELS or not {"position_ids", "attention_mask"} <= set(accepted):
        msg = (
            f"finetune.packing: a {kind} model with {kernel} attention accepts no mask that "
            "separates packed examples; set finetune.packing to false"
        )
        raise ModelError(msg)
    if len(examples) < 2:
        return
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            apart, leak = _differences(model, _probe(model, examples))
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        msg = (
            f"finetune.packing: a {kind} model does not run on packed examples ({reason}); set "
            "finetune.packing to false"
        )
        raise ModelError(msg) from error
    finally:
        model.train(was_training)
    tolerance = _TOLERANCE.get(next(model.parameters()).dtype, _BFLOAT16_TOLERANCE)
    what = None
    if not leak <= _LEAK_SHARE * tolerance:
        what = f"lets packed examples see each other (its logits change by {leak:.1%})"
    elif not apart <= tolerance:
        what = f"reads an example differently when it is packed (its logits change by {apart:.1%})"
    if what is not None:
        msg = f"finetune.packing: a {kind} model {what}; set finetune.packing to false"
        raise ModelError(msg)


def _probe(model: nn.Module, examples: Sequence[TokenizedExample]) -> list[TokenizedExample]:
    """Return two examples: the longest, cut a little beyond the model's window, and a short one."""
    inner: Any = causal_lm(model)
    by_length = sorted(examples, key=lambda example: example.n_tokens)
    window = attention_window(inner.config) or 0
    return [_cut(by_length[-1], window + _PROBED), _cut(by_length[0], _PROBED)]


def _cut(example: TokenizedExample, n_tokens: int) -> TokenizedExample:
    cut = type(example)
    return cut(example.row_id, example.input_ids[:n_tokens], example.labels[:n_tokens])


def _differences(model: nn.Module, pair: Sequence[TokenizedExample]) -> tuple[float, float]:
    """Return how much logits change when two examples are packed, and when the first one changes.

    The first number compares both examples, packed, with each one alone, unpacked; the second
    compares the second example in two packs with different first examples.
    """
    first, second = pair
    size = first.n_tokens
    ends = [torch.arange(n)[-_PROBED:] for n in (size, second.n_tokens)]
    kept = torch.cat([ends[0], ends[1] + size])
    packed = _there(model, pack(pair))
    both = _logits(model, packed, kept).float()
    alone = torch.cat([_plain(model, one)[end] for one, end in zip(pair, ends, strict=True)])
    changed = dict(packed)
    changed["input_ids"] = packed["input_ids"].clone()
    changed["input_ids"][0, :size] = changed["input_ids"][0, :size].roll(1)
    other = _logits(model, changed, ends[1] + size).float()
    mine = both[len(ends[0]) :]
    return _relative(both, alone), _relative(other, mine)


def _relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm().clamp(min=1e-6))


def _there(model: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    device = next(model.parameters()).device
    return {name: values.to(device) for name, values in batch.items()}


def _plain(model: nn.Module, example: TokenizedExample) -> torch.Tensor:
    """Return the logits of an example alone, without positions or a mask, [T, V]."""
    ids = torch.from_numpy(example.input_ids.astype(np.int64))[None]
    batch = _there(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    logits: torch.Tensor = model(**model_inputs(model, batch)).logits[0]
    return logits.float()


def _logits(
    model: nn.Module, batch: Mapping[str, torch.Tensor], kept: torch.Tensor
) -> torch.Tensor:
    """Return the logits at some positions, [n, V]."""
    accepted = inspect.signature(causal_lm(model).forward).parameters
    inputs = {
        **model_inputs(model, {**batch, "attention_mask": torch.ones_like(batch["input_ids"])}),
        "position_ids": batch["position_ids"],
        "attention_mask": _masks(model, batch["position_ids"]),
    }
    if "logits_to_keep" in accepted:
        kept = kept.to(batch["input_ids"].device)
        return model(**inputs, logits_to_keep=kept).logits[0]  # type: ignore[no-any-return]
    logits: torch.Tensor = model(**inputs).logits[0]
    return logits[kept.to(logits.device)]


def _masks(model: nn.Module, position_ids: torch.Tensor) -> Any:
    """Return a mask for each kind of layer; a new example begins wherever positions restart.

    Some models (GPT-OSS) would not derive them from the positions themselves.
    """
    inner: Any = causal_lm(model)
    parameter = next(model.parameters())
    shape = torch.empty((*position_ids.shape, 0), dtype=parameter.dtype, device=parameter.device)
    return create_masks_for_generate(
        config=language_config(inner.config),
        inputs_embeds=shape,  # only its shape, dtype and device are used
        attention_mask=None,
        past_key_values=None,
        position_ids=position_ids,
    )
