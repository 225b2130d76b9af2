"""Rendered conversations into token ids and labels.

The whole text is tokenized once, and a token belongs to the completion if it shares a character
with it. Where the tokenizer would merge characters across the beginning of a completion (the
newline that ends the prompt with the blanks that begin the answer), the text is tokenized in two
pieces, cut there: the model, when it generates, is given the prompt's tokens alone, so these are
what it must see in training, and what lm-eval feeds. The mask never shifts. Rows that needed the
cut are counted, for the summary. At the end of a completion nothing is cut: a token that reaches
beyond it (only with templates whose turns end without a special token) is learned.

Shapes: T tokens of one example.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from bids_core.data.chat import ChatRenderer, Rendered
from bids_core.data.rejects import RejectedRow
from bids_core.records import IGNORED_LABEL, Example, TokenizedExample

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    from transformers import PreTrainedTokenizerBase

Encoding: TypeAlias = "tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]"
Masked: TypeAlias = "tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_], bool]"
_TEXTS_PER_BATCH: Final = 1024


@dataclass(frozen=True, slots=True)
class Tokenized:
    """A tokenized example, and what happened on the way.

    Args:
        example: the tokens.
        full_length: tokens before truncation.
        merged: the text was cut, else a token would span prompt and completion.
    """

    example: TokenizedExample
    full_length: int
    merged: bool


def tokenize_example(
    example: Example, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> TokenizedExample:
    """Render and tokenize one example.

    Args:
        example: what to tokenize.
        tokenizer: a fast tokenizer of transformers, with a chat template.
        max_length: longest result, in tokens; the rest is cut off on the right.

    Raises:
        RejectedRow: the template refuses it, or no token of its completion is left.
        ModelError: the tokenizer has no chat template.
    """
    result = next(tokenize_examples([example], tokenizer, max_length))
    if isinstance(result, RejectedRow):
        raise result
    return result.example


def tokenize_examples(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Iterator[Tokenized | RejectedRow]:
    """Render and tokenize examples, in order, in batches; see `tokenize_example`."""
    renderer = ChatRenderer(tokenizer)
    for first in range(0, len(examples), _TEXTS_PER_BATCH):
        batch = examples[first : first + _TEXTS_PER_BATCH]
        rendered = [_render(renderer, example) for example in batch]
        texts = [item.text for item in rendered if isinstance(item, Rendered)]
        encodings = iter(_encode(texts, tokenizer))
        for example, item in zip(batch, rendered, strict=True):
            if isinstance(item, RejectedRow):
                yield item
            else:
                masked = _mask(item, next(encodings), tokenizer)
                yield _cut(example, masked, max_length, prompt_only=not item.spans)


def completion_mask(
    offsets_T2: npt.NDArray[np.int64], spans: Sequence[tuple[int, int]]
) -> tuple[npt.NDArray[np.bool_], list[int]]:
    """Return which tokens share a character with a span.

    A byte-level tokenizer may leave a token's blanks out of its offsets. The tokens tile the text,
    so a token begins no later than where the ones before it end.

    Args:
        offsets_T2: [T, 2] start and end of each token, in characters.
        spans: [start, end) in characters.

    Returns:
        [T] mask, and the beginnings of spans that a token reaches across.
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


def _render(renderer: ChatRenderer, example: Example) -> Rendered | RejectedRow:
    try:
        return renderer.render(example.messages)
    except RejectedRow as problem:
        return problem


def _encode(
    texts: list[str],
    tokenizer: PreTrainedTokenizerBase,
) -> list[Encoding]:
    """Return ids [T] and offsets [T, 2] of each text. The template has written special tokens."""
    if not texts:
        return []
    encoded = tokenizer(
        texts, add_special_tokens=False, truncation=False, padding=False,
        return_offsets_mapping=True, return_attention_mask=False, verbose=False,
    )  # fmt: skip
    return [
        (np.asarray(ids, dtype=np.int32), np.asarray(offsets, dtype=np.int64).reshape(-1, 2))
        for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ]


def _mask(rendered: Rendered, encoding: Encoding, tokenizer: PreTrainedTokenizerBase) -> Masked:
    """Return ids and completion mask [T], and whether the text had to be cut."""
    mask_T, crossed = completion_mask(encoding[1], rendered.spans)
    if crossed:
        encoding = _encode_in_pieces(rendered.text, crossed, tokenizer)
        mask_T, _ = completion_mask(encoding[1], rendered.spans)
    return encoding[0], mask_T, bool(crossed)


def _encode_in_pieces(text: str, cuts: list[int], tokenizer: PreTrainedTokenizerBase) -> Encoding:
    """Return ids [T] and offsets [T, 2] of a text, no token of which reaches across a cut."""
    bounds = [0, *cuts, len(text)]
    pieces = _encode([text[start:end] for start, end in pairwise(bounds)], tokenizer)
    ids_T = np.concatenate([ids for ids, _ in pieces])
    shifted = [offsets + start for (_, offsets), start in zip(pieces, bounds, strict=False)]
    return ids_T, np.concatenate(shifted)


def _cut(
    example: Example, masked: Masked, max_length: int, *, prompt_only: bool
) -> Tokenized | RejectedRow:
    ids_T, mask_T, merged = masked
    mask_T[:1] = False  # nothing predicts the first token
    if prompt_only and len(ids_T) > max_length:
        detail = f"the prompt has {len(ids_T)} tokens, data.max_length is {max_length}; raise it"
        return RejectedRow("prompt-truncated", detail)
    if not prompt_only and not mask_T[:max_length].any():
        detail = (
            f"the completion begins at token {int(mask_T.argmax()) + 1} of {len(ids_T)}, behind"
            f" data.max_length {max_length}; raise it or shorten the prompt"
        )
        return RejectedRow("completion-truncated", detail)
    kept_T = slice(0, max_length)  # copied, so that a row of a million tokens does not stay
    labels_T = np.where(mask_T[kept_T], ids_T[kept_T], IGNORED_LABEL).astype(np.int32)
    tokens = TokenizedExample(example.row_id, ids_T[kept_T].copy(), labels_T)
    return Tokenized(tokens, len(ids_T), merged)
