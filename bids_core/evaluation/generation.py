"""Greedy generation in length-sorted batches with a key-value cache.

Shapes: B rows of a batch, T tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from bids_core.data.batches import token_budget_batches
from bids_core.evaluation.likelihood import left_padded
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
    settings = _greedy(max_new_tokens, stop_ids)
    for batch in token_budget_batches(lengths, tokens_per_batch):
        ids_BT, mask_BT = left_padded([prompts[index] for index in batch], device=model.device)
        out_BT = model.generate(  # type: ignore[operator]
            input_ids=ids_BT, attention_mask=mask_BT, generation_config=settings
        )
        new_BT = out_BT[:, ids_BT.shape[1] :].tolist()
        for index, row in zip(batch, new_BT, strict=True):
            results[index] = _until_stop(row, stop_ids)
        on_progress(len(results), len(prompts))
    return [results[index] for index in range(len(prompts))]


def _until_stop(row: list[int], stop_ids: Sequence[int]) -> list[int]:
    ends = [position for position, token in enumerate(row) if token in stop_ids]
    return row[: ends[0]] if ends else row


def _greedy(max_new_tokens: int, stop_ids: Sequence[int]) -> Any:
    """Spell out every setting that a model's own generation config could otherwise slip in."""
    from transformers import GenerationConfig

    return GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        use_cache=True,
        eos_token_id=list(stop_ids),
        pad_token_id=stop_ids[0],
    )
