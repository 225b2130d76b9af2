"""Rendered conversations into token ids and labels.

The whole text is tokenized once. A token belongs to the completion if it shares at least one
character with it. So where the tokenizer merges characters across the boundary (the newline that
ends the prompt with blanks that begin the answer), the merged token is learned, and the mask never
shifts; everywhere else the tokens before it are exactly those of the prompt alone, which is what
lm-eval feeds. Such merges are counted, for the summary.

Shapes: T tokens of one example.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from bids_core.data.chat import ChatRenderer, Rendered
from bids_core.data.rejects import RejectedRow
from bids_core.records import IGNORED_LABEL, Example, TokenizedExample

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    from transformers import PreTrainedTokenizerBase

_TEXTS_PER_BATCH: Final = 1024


@dataclass(frozen=True, slots=True)
class Tokenized:
    """A tokenized example, and what happened on the way.

    Args:
        example: the tokens.
        full_length: tokens before truncation.
        merged: a token spans the boundary of prompt and completion.
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
                yield _cut(example, item, *next(encodings), max_length)


def completion_mask(
    offsets_T2: npt.NDArray[np.int64], spans: Sequence[tuple[int, int]]
) -> tuple[npt.NDArray[np.bool_], bool]:
    """Return which tokens share a character with a span.

    A byte-level tokenizer may leave a token's blanks out of its offsets. The tokens tile the text,
    so a token begins no later than where the ones before it end.

    Args:
        offsets_T2: [T, 2] start and end of each token, in characters.
        spans: [start, end) in characters.

    Returns:
        [T] mask, and whether a token reaches into a span from outside, at its beginning.
    """
    ends_T = offsets_T2[:, 1]
    reached_T = np.maximum.accumulate(np.concatenate([[0], ends_T[:-1]]))
    starts_T = np.minimum(offsets_T2[:, 0], reached_T)
    mask_T = np.zeros(len(offsets_T2), dtype=np.bool_)
    merged = False
    for start, end in spans:
        inside_T = (ends_T > start) & (starts_T < end)
        merged |= bool((inside_T & (starts_T < start)).any())
        mask_T |= inside_T
    return mask_T, merged


def _render(renderer: ChatRenderer, example: Example) -> Rendered | RejectedRow:
    try:
        return renderer.render(example.messages)
    except RejectedRow as problem:
        return problem


def _encode(
    texts: list[str],
    tokenizer: PreTrainedTokenizerBase,
) -> list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]]:
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


def _cut(
    example: Example,
    rendered: Rendered,
    ids_T: npt.NDArray[np.int32],
    offsets_T2: npt.NDArray[np.int64],
    max_length: int,
) -> Tokenized | RejectedRow:
    mask_T, merged = completion_mask(offsets_T2, rendered.spans)
    mask_T[:1] = False  # nothing predicts the first token
    labels_T = np.where(mask_T, ids_T, IGNORED_LABEL).astype(np.int32)
    if not rendered.spans and len(ids_T) > max_length:
        detail = f"the prompt has {len(ids_T)} tokens, data.max_length is {max_length}; raise it"
        return RejectedRow("prompt-truncated", detail)
    if rendered.spans and not mask_T[:max_length].any():
        detail = (
            f"the completion begins at token {int(mask_T.argmax()) + 1} of {len(ids_T)}, behind"
            f" data.max_length {max_length}; raise it or shorten the prompt"
        )
        return RejectedRow("completion-truncated", detail)
    kept_T = slice(0, max_length)  # copied, so that a row of a million tokens does not stay
    tokens = TokenizedExample(example.row_id, ids_T[kept_T].copy(), labels_T[kept_T].copy())
    return Tokenized(tokens, len(ids_T), merged)
