"""Padded batches, and a plan that groups examples of similar length.

Shapes: B examples per batch, T tokens in the longest one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from bids_core.records import IGNORED_LABEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from bids_core.records import TokenizedExample


def token_budget_batches(
    lengths: Sequence[int], tokens_per_batch: int, *, max_batch: int | None = None
) -> list[list[int]]:
    """Plan batches whose padded size stays within a number of tokens.

    Examples are taken longest first (ties in order), so there is little padding, and a batch that
    does not fit into memory fails right at the start. An example longer than the budget is a batch
    of one.

    Args:
        lengths: number of tokens of each example.
        tokens_per_batch: most tokens in a batch, including padding.
        max_batch: most examples in a batch.

    Returns:
        Indices into `lengths`, each once; the same plan for the same input.

    Raises:
        ValueError: a limit is below 1.
    """
    if tokens_per_batch < 1 or (max_batch is not None and max_batch < 1):
        msg = f"tokens_per_batch {tokens_per_batch} and max_batch {max_batch} must be at least 1"
        raise ValueError(msg)
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable").tolist()
    batches: list[list[int]] = []
    position = 0
    while position < len(order):
        longest = max(1, lengths[order[position]])
        size = max(1, tokens_per_batch // longest)
        size = size if max_batch is None else min(size, max_batch)
        batches.append(order[position : position + size])
        position += size
    return batches


def collate(
    examples: Sequence[TokenizedExample],
    *,
    pad_token_id: int,
    padding_side: Literal["left", "right"] = "right",
) -> dict[str, torch.Tensor]:
    """Pad examples to the length of the longest.

    Args:
        examples: B of them, at least one.
        pad_token_id: id to pad `input_ids` with.
        padding_side: side to pad on.

    Returns:
        `input_ids`, `attention_mask` and `labels`, each [B, T] int64; padding has mask 0 and label
        `IGNORED_LABEL`. If some example's labels have unequal weights, also `weights`, [B, T]
        float32.

    Raises:
        ValueError: there is no example.
    """
    if not examples:
        msg = "a batch needs at least one example"
        raise ValueError(msg)
    size = (len(examples), max(example.n_tokens for example in examples))
    ids_BT = np.full(size, pad_token_id, dtype=np.int64)
    mask_BT = np.zeros(size, dtype=np.int64)
    labels_BT = np.full(size, IGNORED_LABEL, dtype=np.int64)
    weights_BT = np.zeros(size, dtype=np.float32)
    for i, example in enumerate(examples):
        n = example.n_tokens
        place = slice(0, n) if padding_side == "right" else slice(size[1] - n, size[1])
        ids_BT[i, place] = example.input_ids
        mask_BT[i, place] = 1
        labels_BT[i, place] = example.labels
        weights_BT[i, place] = label_weights(example)
    batch = {
        "input_ids": torch.from_numpy(ids_BT),
        "attention_mask": torch.from_numpy(mask_BT),
        "labels": torch.from_numpy(labels_BT),
    }
    if any(example.weights is not None for example in examples):
        batch["weights"] = torch.from_numpy(weights_BT)
    return batch


def label_weights(example: TokenizedExample) -> npt.NDArray[np.float32]:
    """Return each token's weight in the mean loss, [T]; 0 where there is no label."""
    if example.weights is not None:
        return example.weights
    is_label: npt.NDArray[np.float32] = (example.labels != IGNORED_LABEL).astype(np.float32)
    return is_label
