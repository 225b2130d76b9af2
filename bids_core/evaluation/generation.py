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
from bids_core.evaluation.likelihood import Scored, positions
from bids_core.evaluation.prompts import Prompt, read_prompts, score_completions
from bids_core.progress import silent
from bids_core.records import IGNORED_LABEL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transformers import Cache, PreTrainedModel

    from bids_core.progress import Progress
    from bids_core.records import TokenizedExample


@dataclass(frozen=True, slots=True)
class Answer:
    """A generated answer, and how likely the reference answer was.

    Args:
        tokens: new token ids, stop token left out; a stop text is their end.
        reference: score of the reference answer; of no tokens where there is none.
    """

    tokens: list[int]
    reference: Scored


@dataclass(frozen=True, slots=True)
class StopTexts:
    """Texts that end answers.

    Args:
        texts: of each prompt; may be empty.
        decode: token ids to text.
    """

    texts: Sequence[Sequence[str]]
    decode: Callable[[list[int]], str]

    def reached(self, index: int, tokens: list[int]) -> bool:
        """Return whether the answer to a prompt now ends with, or has just gone past, a stop text.

        A token stands for at least one byte, so the last few tokens hold the text; one more is
        looked at, since the text may end within the last one.
        """
        texts = self.texts[index]
        if not texts:
            return False
        window = max(len(text.encode()) for text in texts) + 1
        end = self.decode(tokens[-window:])
        return any(text in end for text in texts)


def cut_at(text: str, stops: Sequence[str]) -> str:
    """Return a text up to where the first of some stop texts begins."""
    return text[: min((text.find(stop) for stop in stops if stop in text), default=len(text))]


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    examples: Sequence[TokenizedExample],
    *,
    max_new_tokens: Sequence[int],
    stop_ids: Sequence[int],
    tokens_per_batch: int,
    stop_texts: StopTexts | None = None,
    on_progress: Progress = silent,
) -> list[Answer]:
    """Answer each prompt with the likeliest next token until a stop token.

    The model's own generation config (temperature, repetition penalty) has no say.

    Args:
        model: in evaluation mode, on its device.
        examples: prompts with their reference answers, of which only the answer is labelled; one
            without labels is all prompt.
        max_new_tokens: longest answer to each, in tokens.
        stop_ids: token ids that end an answer.
        tokens_per_batch: padded tokens of one batch, answers included.
        stop_texts: texts that end answers, too.
        on_progress: called with (prompts done, all).

    Returns:
        An answer to each prompt, in the order given.
    """
    prompts = [_prompt(example) for example in examples]
    has_reference = [bool((example.labels != IGNORED_LABEL).any()) for example in examples]
    lengths = [
        len(prompt.shared) + max(limit, len(prompt.tails[0]))
        for prompt, limit in zip(prompts, max_new_tokens, strict=True)
    ]
    results: dict[int, Answer] = {}
    for batch in token_budget_batches(lengths, tokens_per_batch):
        chosen = [prompts[index] for index in batch]
        cache, mask_BT = read_prompts(model, chosen)
        scored = [[Scored(0.0, 0, is_greedy=True)]] * len(batch)
        if any(has_reference[index] for index in batch):
            scored = score_completions(model, chosen, copy.deepcopy(cache), mask_BT)
        limits = [max_new_tokens[index] for index in batch]
        starts = [int(prompt.tails[0][0]) for prompt in chosen]
        rule = _Rule(batch, limits, frozenset(stop_ids), stop_texts)
        answers = _continue_batch(model, cache, mask_BT, starts, rule)
        for index, tokens, references in zip(batch, answers, scored, strict=True):
            results[index] = Answer(tokens, references[0])
        on_progress(len(results), len(prompts))
    return [results[index] for index in range(len(prompts))]


def _prompt(example: TokenizedExample) -> Prompt:
    if (example.labels != IGNORED_LABEL).any():
        return Prompt.of([example])
    if example.n_tokens < 2:
        msg = f"row {example.row_id!r} has a prompt of {example.n_tokens} tokens; two are needed"
        raise ValueError(msg)
    ids, labels = example.input_ids, example.labels
    return Prompt(shared=ids[:-1], tails=(ids[-1:],), labels=(labels[-1:],))


@dataclass(frozen=True, slots=True)
class _Rule:
    """When each answer of a batch ends."""

    batch: Sequence[int]
    limits: Sequence[int]
    stop_ids: frozenset[int]
    stop_texts: StopTexts | None

    def goes_on(self, place: int, tokens: list[int]) -> bool:
        if len(tokens) >= self.limits[place]:
            return False
        return self.stop_texts is None or not self.stop_texts.reached(self.batch[place], tokens)


def _continue_batch(
    model: PreTrainedModel,
    cache: Cache,
    mask_BT: torch.Tensor,
    starts: Sequence[int],
    rule: _Rule,
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
            if token in rule.stop_ids:
                continue
            answers[place].append(token)
            if rule.goes_on(place, answers[place]):
                kept.append(row)
        if 0 < len(kept) < len(going):
            kept_B = torch.tensor(kept, device=model.device)
            cache.batch_select_indices(kept_B)
            mask_BT = mask_BT[kept_B]
        going = [going[row] for row in kept]
        next_tokens = [tokens[row] for row in kept]
    return answers
