"""Greedy answers in length-sorted batches, and the log-likelihood of the reference answers.

Both start from one reading of the prompt. Transformers' own `generate` carries finished rows along
until the last one ends; here they leave the batch, so that one rambling answer does not cost as
much as a batch of them.

Shapes: B rows of a batch that are still going on, T tokens so far.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from bids_core.data.batches import token_budget_batches
from bids_core.evaluation.likelihood import positions
from bids_core.evaluation.prompts import Prompt, read_prompts, score_completions
from bids_core.progress import silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import Cache, PreTrainedModel

    from bids_core.evaluation.likelihood import Scored
    from bids_core.progress import Progress
    from bids_core.records import TokenizedExample


@dataclass(frozen=True, slots=True)
class Answer:
    """A generated answer, and how likely the reference answer was.

    Args:
        tokens: new token ids, stop token left out.
        reference: score of the reference answer.
    """

    tokens: list[int]
    reference: Scored


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    examples: Sequence[TokenizedExample],
    *,
    max_new_tokens: Sequence[int],
    stop_ids: Sequence[int],
    tokens_per_batch: int,
    on_progress: Progress = silent,
) -> list[Answer]:
    """Answer each prompt with the likeliest next token until a stop token.

    The model's own generation config (temperature, repetition penalty) has no say.

    Args:
        model: in evaluation mode, on its device.
        examples: prompts with their reference answers; only the answer is labelled.
        max_new_tokens: longest answer to each, in tokens.
        stop_ids: token ids that end an answer.
        tokens_per_batch: padded tokens of one batch, answers included.
        on_progress: called with (prompts done, all).

    Returns:
        An answer to each prompt, in the order given.
    """
    prompts = [Prompt.of([example]) for example in examples]
    lengths = [
        len(prompt.shared) + max(limit, len(prompt.tails[0]))
        for prompt, limit in zip(prompts, max_new_tokens, strict=True)
    ]
    results: dict[int, Answer] = {}
    for batch in token_budget_batches(lengths, tokens_per_batch):
        chosen = [prompts[index] for index in batch]
        cache, mask_BT = read_prompts(model, chosen)
        scored = score_completions(model, chosen, copy.deepcopy(cache), mask_BT)
        limits = [max_new_tokens[index] for index in batch]
        starts = [int(prompt.tails[0][0]) for prompt in chosen]
        answers = _continue_batch(model, cache, mask_BT, starts, limits, frozenset(stop_ids))
        for index, tokens, references in zip(batch, answers, scored, strict=True):
            results[index] = Answer(tokens, references[0])
        on_progress(len(results), len(prompts))
    return [results[index] for index in range(len(prompts))]


def _continue_batch(
    model: PreTrainedModel,
    cache: Cache,
    mask_BT: torch.Tensor,
    starts: Sequence[int],
    limits: Sequence[int],
    stop_ids: frozenset[int],
) -> list[list[int]]:
    """Generate after what `read_prompts` left; `starts` are the prompts' last tokens."""
    answers: list[list[int]] = [[] for _ in starts]
    going = list(range(len(starts)))
    next_tokens = list(starts)
    while going:
        ids_B1 = torch.tensor(next_tokens, device=model.device)[:, None]
        mask_BT = torch.cat([mask_BT, torch.ones_like(ids_B1)], dim=1)
        output = model(
            input_ids=ids_B1,
            attention_mask=mask_BT,
            position_ids=positions(mask_BT)[:, -1:],
            past_key_values=cache,
            use_cache=True,
        )
        tokens = output.logits[:, -1].argmax(dim=-1).tolist()
        kept = []
        for row, (place, token) in enumerate(zip(going, tokens, strict=True)):
            if token in stop_ids:
                continue
            answers[place].append(token)
            if len(answers[place]) < limits[place]:
                kept.append(row)
        if 0 < len(kept) < len(going):
            kept_B = torch.tensor(kept, device=model.device)
            cache.batch_select_indices(kept_B)
            mask_BT = mask_BT[kept_B]
        going = [going[row] for row in kept]
        next_tokens = [tokens[row] for row in kept]
    return answers
