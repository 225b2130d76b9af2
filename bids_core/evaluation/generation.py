"""Generates answers in length-sorted batches, and scores the reference answers.

Both share one reading of the prompt. Transformers' own `generate` keeps finished rows until the
last one ends; here they leave the batch, so one rambling answer does not cost as much as a whole
batch. If the model's cache does not allow this (see `cache`), whole texts are read again.

Shapes: B unfinished rows of a batch, T tokens so far.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from bids_core.data.batches import token_budget_batches
from bids_core.evaluation.cache import CachePlan, cache_plan
from bids_core.evaluation.likelihood import Scored, log_likelihoods
from bids_core.evaluation.prompts import Prompt, read_prompts, score_completions
from bids_core.evaluation.reading import left_padded, read, select_rows
from bids_core.progress import silent
from bids_core.records import IGNORED_LABEL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transformers import PreTrainedModel

    from bids_core.evaluation.sampling import Choice
    from bids_core.progress import Progress
    from bids_core.records import TokenizedExample

_NO_REFERENCE: Final = Scored(0.0, 0, is_greedy=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """A generated answer, and the likelihood of the reference answer.

    Args:
        tokens: new token ids, without the stop token but including any stop text.
        reference: score of the reference answer; of zero tokens if there is none.
        ended: whether the model ended it, with a stop token.
    """

    tokens: list[int]
    reference: Scored
    ended: bool


@dataclass(frozen=True, slots=True)
class StopTexts:
    """Texts that end answers.

    Args:
        texts: stop texts of each prompt; may be empty.
        decode: token ids to text.
        in_thought: whether the answer so far to a prompt is inside a thought, where stop texts are
            ignored.
    """

    texts: Sequence[Sequence[str]]
    decode: Callable[[list[int]], str]
    in_thought: Callable[[int, list[int]], bool] | None = None

    def reached(self, index: int, tokens: list[int]) -> bool:
        """Return whether the answer to a prompt has just reached a stop text.

        A token stands for at least one byte, so the last few tokens contain the text; one more is
        checked, because the text may end inside the last one.
        """
        texts = self.texts[index]
        if not texts:
            return False
        window = max(len(text.encode()) for text in texts) + 1
        end = self.decode(tokens[-window:])
        if not any(text in end for text in texts):
            return False
        return self.in_thought is None or not self.in_thought(index, tokens)


def cut_at(text: str, stops: Sequence[str]) -> str:
    """Return a text up to the first stop text."""
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
    choices: Sequence[Choice] | None = None,
    on_progress: Progress = silent,
) -> list[Answer]:
    """Generate an answer to each prompt, by default greedily.

    The model's own generation config (temperature, repetition penalty) is ignored.

    Args:
        model: in evaluation mode, on its device.
        examples: prompts with reference answers, with labels on the answer only; one without labels
            is all prompt.
        max_new_tokens: longest answer to each prompt, in tokens.
        stop_ids: token ids that end an answer.
        tokens_per_batch: padded tokens in one batch, including answers.
        stop_texts: texts that also end answers.
        choices: how the tokens of each answer are chosen; None for greedy decoding.
        on_progress: called with (prompts done, all).

    Returns:
        An answer to each prompt, in the given order.
    """
    prompts = [_prompt(example) for example in examples]
    lengths = [
        len(prompt.shared) + max(limit, len(prompt.tails[0]))
        for prompt, limit in zip(prompts, max_new_tokens, strict=True)
    ]
    plan = cache_plan(model, longest=max(lengths, default=0))
    most = None if plan.pads else 1
    results: dict[int, Answer] = {}
    for batch in token_budget_batches(lengths, tokens_per_batch, max_batch=most):
        chosen = [prompts[index] for index in batch]
        rule = _Rule(
            batch,
            [max_new_tokens[index] for index in batch],
            frozenset(stop_ids),
            stop_texts,
            None if choices is None else [choices[index] for index in batch],
        )
        if plan.answers:
            cache, mask_BT = read_prompts(model, chosen)
            scored = _references(model, [examples[i] for i in batch], chosen, cache, mask_BT, plan)
            answers = _continue_batch(model, cache, mask_BT, chosen, rule, plan)
        else:
            scored = _references(model, [examples[i] for i in batch], chosen, None, None, plan)
            answers = _continue_without_cache(model, chosen, rule)
        for index, (tokens, ended), reference in zip(batch, answers, scored, strict=True):
            results[index] = Answer(tokens, reference, ended)
        on_progress(len(results), len(prompts))
    return [results[index] for index in range(len(prompts))]


def _references(
    model: PreTrainedModel,
    examples: Sequence[TokenizedExample],
    prompts: Sequence[Prompt],
    cache: Any,
    mask_BT: torch.Tensor | None,
    plan: CachePlan,
) -> list[Scored]:
    """Score the reference answers of a batch; missing ones have no tokens."""
    there = [bool((example.labels != IGNORED_LABEL).any()) for example in examples]
    if not any(there):
        return [_NO_REFERENCE] * len(examples)
    if mask_BT is not None and plan.completions:
        scored = score_completions(model, prompts, copy.deepcopy(cache), mask_BT)
        return [group[0] for group in scored]
    rows = [example for example, is_there in zip(examples, there, strict=True) if is_there]
    size = sum(example.n_tokens for example in rows)
    found = iter(log_likelihoods(model, rows, tokens_per_batch=size))
    return [next(found) if is_there else _NO_REFERENCE for is_there in there]


def _prompt(example: TokenizedExample) -> Prompt:
    if (example.labels != IGNORED_LABEL).any():
        return Prompt.of([example])
    if example.n_tokens < 2:
        msg = (
            f"row {example.row_id!r} has a prompt of {example.n_tokens} tokens; at least "
            "two are needed"
        )
        raise ValueError(msg)
    ids, labels = example.input_ids, example.labels
    return Prompt(shared=ids[:-1], tails=(ids[-1:],), labels=(labels[-1:],))


@dataclass(frozen=True, slots=True)
class _Rule:
    """How the answers of a batch continue, and when each one ends."""

    batch: Sequence[int]
    limits: Sequence[int]
    stop_ids: frozenset[int]
    stop_texts: StopTexts | None
    choices: Sequence[Choice] | None

    def goes_on(self, place: int, tokens: list[int]) -> bool:
        if len(tokens) >= self.limits[place]:
            return False
        return self.stop_texts is None or not self.stop_texts.reached(self.batch[place], tokens)

    def next_tokens(
        self, logits_BV: torch.Tensor, going: Sequence[int], texts: Sequence[Sequence[int]]
    ) -> list[int]:
        """Choose the next token of each unfinished answer, given all previous tokens."""
        tokens: list[int] = logits_BV.argmax(dim=-1).tolist()
        if self.choices is None:
            return tokens
        return [
            tokens[row]
            if self.choices[place].is_plain
            else self.choices[place].next_token(logits_BV[row], texts[place])
            for row, place in enumerate(going)
        ]


class _Answers:
    """The growing answers of a batch."""

    def __init__(self, prompts: Sequence[Prompt], rule: _Rule) -> None:
        self._rule = rule
        self.texts = [[*prompt.shared.tolist(), int(prompt.tails[0][0])] for prompt in prompts]
        self._sizes = [len(text) for text in self.texts]
        self._ended = [False] * len(prompts)
        self.going = list(range(len(prompts)))

    def add(self, logits_BV: torch.Tensor) -> list[int]:
        """Add a token to each unfinished answer; return the rows that are still unfinished."""
        kept = []
        tokens = self._rule.next_tokens(logits_BV, self.going, self.texts)
        for row, (place, token) in enumerate(zip(self.going, tokens, strict=True)):
            if token in self._rule.stop_ids:
                self._ended[place] = True
                continue
            self.texts[place].append(token)
            if self._rule.goes_on(place, self._answer(place)):
                kept.append(row)
        self.going = [self.going[row] for row in kept]
        return kept

    def found(self) -> list[tuple[list[int], bool]]:
        """Return each answer's tokens, and whether the model ended it."""
        return [(self._answer(place), ended) for place, ended in enumerate(self._ended)]

    def _answer(self, place: int) -> list[int]:
        return self.texts[place][self._sizes[place] :]


def _continue_batch(
    model: PreTrainedModel,
    cache: Any,
    mask_BT: torch.Tensor,
    prompts: Sequence[Prompt],
    rule: _Rule,
    plan: CachePlan,
) -> list[tuple[list[int], bool]]:
    """Generate from the cache of `read_prompts`, starting at the prompts' last tokens."""
    answers = _Answers(prompts, rule)
    rows = answers.going  # the answer that each row of the cache belongs to
    while answers.going:
        ids_B1 = torch.tensor([answers.texts[place][-1:] for place in rows], device=model.device)
        mask_BT = torch.cat([mask_BT, torch.ones_like(ids_B1)], dim=1)
        logits, cache = read(model, ids_B1, mask_BT, cache=cache)
        if not plan.rows:
            answers.add(logits[[rows.index(place) for place in answers.going], -1])
            continue
        kept = answers.add(logits[:, -1])
        if 0 < len(kept) < len(rows):
            kept_B = torch.tensor(kept, device=model.device)
            select_rows(cache, kept_B)
            mask_BT = mask_BT[kept_B]
            rows = answers.going
    return answers.found()


def _continue_without_cache(
    model: PreTrainedModel, prompts: Sequence[Prompt], rule: _Rule
) -> list[tuple[list[int], bool]]:
    """Generate without a cache, reading the whole text again for every token."""
    answers = _Answers(prompts, rule)
    while answers.going:
        texts = [answers.texts[place] for place in answers.going]
        ids_BT, mask_BT = left_padded(texts, device=model.device)
        logits, _ = read(model, ids_BT, mask_BT, keep=1, remember=False)
        answers.add(logits[:, -1])
    return answers.found()
