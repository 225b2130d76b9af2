"""Log-likelihoods of several completions of one prompt, which is read only once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bids_core.data.batches import token_budget_batches
from bids_core.evaluation.cache import cache_plan
from bids_core.evaluation.likelihood import log_likelihoods
from bids_core.evaluation.prompts import Prompt, read_prompts, score_completions
from bids_core.progress import silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

    from bids_core.evaluation.likelihood import Scored
    from bids_core.progress import Progress
    from bids_core.records import TokenizedExample


@torch.inference_mode()
def choice_log_likelihoods(
    model: PreTrainedModel,
    groups: Sequence[Sequence[TokenizedExample]],
    *,
    tokens_per_batch: int,
    on_progress: Progress = silent,
) -> list[list[Scored]]:
    """Score the labelled tokens of each choice, given all tokens before them.

    Args:
        model: in evaluation mode, on its device.
        groups: choices by prompt; all choices in a group begin with the same tokens.
        tokens_per_batch: padded tokens in one forward pass.
        on_progress: called with (choices done, all).

    Returns:
        One list per group, with a `Scored` for each choice, in the given order.

    Raises:
        ValueError: the choices of a group do not share a prompt.
    """
    prompts = [Prompt.of(group) for group in groups]
    longest = max((example.n_tokens for group in groups for example in group), default=0)
    plan = cache_plan(model, longest=longest)
    if not plan.branches:
        return _each_with_its_prompt(model, groups, tokens_per_batch, on_progress)
    most = None if plan.pads else 1
    total = sum(len(group) for group in groups)
    done = 0
    results: dict[int, list[Scored]] = {}
    lengths = [prompt.n_tokens for prompt in prompts]
    for batch in token_budget_batches(lengths, tokens_per_batch, max_batch=most):
        chosen = [prompts[index] for index in batch]
        scored = score_completions(model, chosen, *read_prompts(model, chosen))
        results.update(zip(batch, scored, strict=True))
        done += sum(len(row) for row in scored)
        on_progress(done, total)
    return [results[index] for index in range(len(groups))]


def _each_with_its_prompt(
    model: PreTrainedModel,
    groups: Sequence[Sequence[TokenizedExample]],
    tokens_per_batch: int,
    on_progress: Progress,
) -> list[list[Scored]]:
    """Score whole texts, for models whose cache cannot be continued."""
    flat = [example for group in groups for example in group]
    scored = iter(
        log_likelihoods(model, flat, tokens_per_batch=tokens_per_batch, on_progress=on_progress)
    )
    return [[next(scored) for _ in group] for group in groups]
