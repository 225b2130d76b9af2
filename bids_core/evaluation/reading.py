"""Runs a model on token ids: padded batches, with or without a cache.

Rows in a batch are padded on the left, so that their ends align, and vocabulary-sized logits are
needed only for the last few positions.

Shapes: B rows in a batch, T tokens, K positions kept.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers.cache_utils import LinearAttentionCacheLayerMixin

from bids_core.models.loss import causal_lm

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from transformers import PreTrainedModel

    Ids = npt.NDArray[np.int32] | Sequence[int]


def read(
    model: PreTrainedModel,
    ids_BT: torch.Tensor,
    mask_BT: torch.Tensor,
    *,
    cache: Any = None,
    keep: int | None = None,
    remember: bool = True,
) -> tuple[torch.Tensor, Any]:
    """Run a model on token ids.

    Args:
        model: in evaluation mode, on its device.
        ids_BT: token ids; with a cache, those that follow it.
        mask_BT: 1 for tokens, 0 for padding; with a cache, covers its contents too.
        cache: cache of the preceding tokens; extended in place.
        keep: number of last positions to return logits for; None for all.
        remember: whether to create a cache, or extend the given one.

    Returns:
        Logits [B, K, V] in the model's dtype, and the cache (None without one).
    """
    accepted = inspect.signature(causal_lm(model).forward).parameters
    inputs: dict[str, Any] = {"input_ids": ids_BT, "attention_mask": mask_BT}
    if "position_ids" in accepted:
        inputs["position_ids"] = positions(mask_BT)[:, -ids_BT.shape[1] :]
    if "use_cache" in accepted:
        inputs["use_cache"] = remember
    name = "cache_params" if "cache_params" in accepted else "past_key_values"  # Mamba's name
    if cache is not None:
        inputs[name] = cache
    if keep is not None and "logits_to_keep" in accepted:
        inputs["logits_to_keep"] = _last_positions(ids_BT, keep)
    output = model(**inputs)
    logits: torch.Tensor = output.logits if keep is None else output.logits[:, -keep:]
    return logits, getattr(output, name, None) if remember else None


def select_rows(cache: Any, rows_B: torch.Tensor) -> None:
    """Keep the given rows of a cache, in that order; a row may occur several times.

    Stateful layers have no `batch_select_indices`, or one that covers only part of their state
    (transformers 5.23), but beam search's reordering method accepts any number of rows.
    """
    for layer in cache.layers:
        if isinstance(layer, LinearAttentionCacheLayerMixin):
            layer.reorder_cache(rows_B)  # type: ignore[arg-type]
        else:
            layer.batch_select_indices(rows_B)


def _last_positions(ids_BT: torch.Tensor, n: int) -> torch.Tensor:
    """Return the indices of the last `n` positions, for `logits_to_keep`.

    Given a number, the model slices its hidden states, and a matrix product with a slice [B, n, H]
    copies the output head B times (3.8 s instead of 0.01 s, and 1.5 GB, for 26 rows and a
    vocabulary of 49,152 on a CPU in bfloat16); given indices, it gathers them. The logits are
    bitwise identical.
    """
    n_tokens = ids_BT.shape[1]
    return torch.arange(n_tokens - n, n_tokens, device=ids_BT.device)


def left_padded(rows: Sequence[Ids], *, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad rows of token ids on the left.

    The padding id is 0; its value does not matter, because it is masked from attention.

    Returns:
        Ids and attention mask, both [B, T] int64.
    """
    return _padded(rows, left=True, device=device)


def right_padded(rows: Sequence[Ids], *, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad rows of token ids on the right; see `left_padded`."""
    return _padded(rows, left=False, device=device)


def _padded(
    rows: Sequence[Ids], *, left: bool, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(row) for row in rows)
    ids_BT = np.zeros((len(rows), longest), dtype=np.int64)
    mask_BT = np.zeros_like(ids_BT)
    for index, row in enumerate(rows):
        place = slice(longest - len(row), longest) if left else slice(0, len(row))
        ids_BT[index, place] = row
        mask_BT[index, place] = 1
    return torch.from_numpy(ids_BT).to(device), torch.from_numpy(mask_BT).to(device)


def positions(mask_BT: torch.Tensor) -> torch.Tensor:
    """Return position ids [B, T] that count from 0 at the first real token of each row."""
    return (mask_BT.cumsum(dim=1) - 1).clamp(min=0)
