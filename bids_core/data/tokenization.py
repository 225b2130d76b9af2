"""From rendered conversations to token ids and labels.

The whole text is tokenized at once, and a token belongs to the completion if it shares a character
with it. If the tokenizer would merge characters across the beginning of a completion (the newline
that ends the prompt with the spaces that begin the answer), the text is split there and tokenized
in two pieces: when the model generates, it is given the prompt's tokens alone, so it must see the
same tokens in training; lm-eval does likewise. The mask never shifts. Rows that had to be split are
counted in the summary. At the end of a completion nothing is split: a token that extends beyond it
(only with templates whose turns end without a special token) is learned.

Training, gradients and held-out answer loss all use the labels and weights made here; none of them
looks at the row again.

Shapes: T tokens of one example.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from bids_core.data.chat import ChatRenderer, Rendered
from bids_core.data.costly import CostlyRows
from bids_core.data.literal import Encoding, encode, encode_pieces
from bids_core.data.notes import ALTERED, NOTES
from bids_core.data.rejects import RejectedRow
from bids_core.data.templates import STEPS
from bids_core.records import IGNORED_LABEL, Example, TokenizedExample

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    from transformers import PreTrainedTokenizerBase

_TEXTS_PER_BATCH: Final = 1024


@dataclass(frozen=True, slots=True)
class Tokenized:
    """A tokenized example, and what happened to it.

    Args:
        example: the tokens.
        full_length: number of tokens before truncation.
        merged: whether the text was split, because a token would have spanned prompt and
            completion.
        notes: codes of `bids_core.data.notes`.
    """

    example: TokenizedExample
    full_length: int
    merged: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Masked:
    """Token ids, offsets, weights (0 outside the completions), and whether the text was split."""

    ids_T: npt.NDArray[np.int32]
    offsets_T2: npt.NDArray[np.int64]
    weights_T: npt.NDArray[np.float32]
    merged: bool


def tokenize_example(
    example: Example, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> TokenizedExample:
    """Render and tokenize one example.

    Args:
        example: what to tokenize.
        tokenizer: a fast transformers tokenizer with a chat template.
        max_length: longest result, in tokens; longer ones are truncated on the right.

    Raises:
        RejectedRow: the template raises an error, or truncation leaves no token of the completion.
        ModelError: the tokenizer has no chat template.
    """
    result = next(tokenize_examples([example], tokenizer, max_length))
    if isinstance(result, RejectedRow):
        raise result
    return result.example


def tokenize_examples(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    *,
    learn: Literal["all", "last"] = "all",
    altered: Literal["warn", "reject"] = "warn",
    steps: int = STEPS,
) -> Iterator[Tokenized | RejectedRow]:
    """Render and tokenize examples, in order, in batches; see `tokenize_example`.

    Args:
        examples: what to tokenize.
        tokenizer: a fast transformers tokenizer with a chat template.
        max_length: longest result, in tokens.
        learn: all answers of a conversation, or only the last one.
        altered: whether to note or to reject rows of which the template leaves something out.
        steps: limit for one rendering (`data.template_steps`).

    Raises:
        ConfigError: the chat template takes too many steps on all of the first rows.
    """
    renderer = ChatRenderer(tokenizer, learn=learn, steps=steps)
    costly = CostlyRows("model.chat_template")
    for first in range(0, len(examples), _TEXTS_PER_BATCH):
        batch = examples[first : first + _TEXTS_PER_BATCH]
        rendered = [_render(renderer, example, altered, costly) for example in batch]
        texts = [item.text for item in rendered if isinstance(item, Rendered)]
        encodings = iter(encode(texts, tokenizer))
        for example, item in zip(batch, rendered, strict=True):
            if isinstance(item, RejectedRow):
                yield item
            else:
                yield _tokenized(example, item, next(encodings), tokenizer, max_length)


def _tokenized(
    example: Example,
    rendered: Rendered,
    encoding: Encoding,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> Tokenized | RejectedRow:
    try:
        masked = mask(rendered, encoding, tokenizer)
    except RejectedRow as problem:
        return problem
    notes = tuple(sorted({*example.notes, *rendered.notes}))
    return _cut(example, masked, max_length, notes, prompt_only=not rendered.answers)


def completion_mask(
    offsets_T2: npt.NDArray[np.int64], spans: Sequence[tuple[int, int]]
) -> tuple[npt.NDArray[np.bool_], list[int]]:
    """Return which tokens share a character with a span.

    A byte-level tokenizer may leave a token's spaces out of its offsets. Tokens cover the text
    without gaps, so a token begins no later than where the previous ones end.

    Args:
        offsets_T2: [T, 2] start and end of each token, in characters.
        spans: [start, end) in characters.

    Returns:
        The mask, [T], and the starts of spans that a token straddles.
    """
    ends_T = offsets_T2[:, 1]
    reached_T = np.maximum.accumulate(np.concatenate([[0], ends_T[:-1]]))
    starts_T = np.minimum(offsets_T2[:, 0], reached_T)
    mask_T = np.zeros(len(offsets_T2), dtype=np.bool_)
    crossed = []
    for start, end in spans:
        inside_T = (ends_T > start) & (starts_T < end)
        if (inside_T & (starts_T < start)).any():
            crossed.append(start)
        mask_T |= inside_T
    return mask_T, crossed


def _render(
    renderer: ChatRenderer,
    example: Example,
    altered: Literal["warn", "reject"],
    costly: CostlyRows,
) -> Rendered | RejectedRow:
    try:
        rendered = renderer.render(example.messages, tools=example.tools)
    except RejectedRow as problem:
        costly.saw(problem)
        return problem
    costly.saw(None)
    lost = [note for note in rendered.notes if note in ALTERED]
    if altered == "reject" and lost:
        detail = f"{NOTES[lost[0]]}; data.altered: warn keeps such rows"
        return RejectedRow("template-altered", detail)
    return rendered


def mask(rendered: Rendered, encoding: Encoding, tokenizer: PreTrainedTokenizerBase) -> Masked:
    """Return the ids and weights, [T], of a rendered text.

    Args:
        rendered: the text and its answers.
        encoding: ids and offsets of the text in one piece.
        tokenizer: the tokenizer that made them.

    Raises:
        RejectedRow: a text spells a special token that the tokenizer cannot write as text.
    """
    _, crossed = completion_mask(encoding[1], rendered.spans)
    if crossed or rendered.literal:
        encoding = encode_pieces(rendered.text, tokenizer, cuts=crossed, literal=rendered.literal)
        _, again = completion_mask(encoding[1], rendered.spans)
        if rendered.literal and again:
            crossed = sorted({*crossed, *again})
            encoding = encode_pieces(
                rendered.text, tokenizer, cuts=crossed, literal=rendered.literal
            )
    ids_T, offsets_T2 = encoding
    weights_T = np.zeros(len(ids_T), dtype=np.float32)
    for answer in rendered.answers:
        if answer.weight:
            inside_T, _ = completion_mask(offsets_T2, [(answer.start, answer.end)])
            weights_T[inside_T] = answer.weight
    return Masked(ids_T, offsets_T2, weights_T, bool(crossed))


def _cut(
    example: Example,
    masked: Masked,
    max_length: int,
    notes: tuple[str, ...],
    *,
    prompt_only: bool,
) -> Tokenized | RejectedRow:
    ids_T, weights_T = masked.ids_T, masked.weights_T
    weights_T[:1] = 0  # nothing predicts the first token
    if prompt_only and len(ids_T) > max_length:
        detail = f"the prompt has {len(ids_T)} tokens, over data.max_length {max_length}; raise it"
        return RejectedRow("prompt-truncated", detail)
    if not len(ids_T):
        detail = "the tokenizer produces no token for this row; check its tokenizer.json"
        return RejectedRow("completion-truncated", detail)
    if not prompt_only and not weights_T[:max_length].any():
        detail = (
            f"the completion begins at token {int((weights_T > 0).argmax()) + 1} of "
            f"{len(ids_T)}, beyond data.max_length {max_length}; raise it or shorten the "
            "prompt"
        )
        return RejectedRow("completion-truncated", detail)
    kept_T = slice(0, max_length)  # copied, so that a row of a million tokens is not kept alive
    learned_T = weights_T[kept_T] > 0
    labels_T = np.where(learned_T, ids_T[kept_T], IGNORED_LABEL).astype(np.int32)
    alike = not learned_T.any() or bool((weights_T[kept_T][learned_T] == 1).all())
    weights = None if alike else weights_T[kept_T].copy()
    tokens = TokenizedExample(example.row_id, ids_T[kept_T].copy(), labels_T, weights)
    return Tokenized(tokens, len(ids_T), masked.merged, notes)
