"""Greedy generation in length-sorted batches, with a key-value cache that finished rows leave.

Transformers' own `generate` carries finished rows along until the last one ends; here they leave
the batch, so that one rambling answer does not cost as much as a batch of them.

Shapes: B rows of a batch that are still going on, T tokens so far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bids_core.data.batches import token_budget_batches
from bids_core.evaluation.likelihood import left_padded, positions
from bids_core.progress import silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

    from bids_core.progress import Progress


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop_ids: Sequence[int],
    tokens_per_batch: int,
    on_progress: Progress = silent,
) -> list[list[int]]:
    """Continue each prompt with the likeliest next token until a stop token.

    The model's own generation config (temperature, repetition penalty) has no say.

    Args:
        model: in evaluation mode, on its device.
        prompts: token ids of each prompt.
        max_new_tokens: longest continuation, in tokens.
        stop_ids: token ids that end the answer.
        tokens_per_batch: padded tokens of one batch, the new ones included.
        on_progress: called with (prompts done, all).

    Returns:
        The new token ids of each prompt, stop token left out, in the order given.
    """
    results: dict[int, list[int]] = {}
    lengths = [len(prompt) + max_new_tokens for prompt in prompts]
    for batch in token_budget_batches(lengths, tokens_per_batch):
        answers = _continue_batch(
            model, [prompts[index] for index in batch], max_new_tokens, frozenset(stop_ids)
        )
        results.update(zip(batch, answers, strict=True))
        on_progress(len(results), len(prompts))
    return [results[index] for index in range(len(prompts))]


def _continue_batch(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop_ids: frozenset[int],
) -> list[list[int]]:
    answers: list[list[int]] = [[] for _ in prompts]
    going = list(range(len(prompts)))
    ids_B1, mask_BT = left_padded(prompts, device=model.device)
    cache = None
    for _ in range(max_new_tokens):
        output = model(
            input_ids=ids_B1,
            attention_mask=mask_BT,
            position_ids=positions(mask_BT)[:, -ids_B1.shape[1] :],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = output.past_key_values
        tokens = output.logits[:, -1].argmax(dim=-1).tolist()
        kept = [row for row, token in enumerate(tokens) if token not in stop_ids]
        for row in kept:
            answers[going[row]].append(tokens[row])
        if not kept:
            break
        if len(kept) < len(going):
            going = [going[row] for row in kept]
            kept_B = torch.tensor(kept, device=model.device)
            cache.batch_select_indices(kept_B)
            mask_BT = mask_BT[kept_B]
        ids_B1 = torch.tensor([[tokens[row]] for row in kept], device=model.device)
        mask_BT = torch.cat([mask_BT, torch.ones_like(ids_B1)], dim=1)
    return answers
