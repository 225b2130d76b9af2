"""Encodes text that spells a special token as plain text.

A tutorial on ChatML contains `<|im_end|>`, one on SSML `<s>`; a prompt may quote whole turns. Left
unchanged in the rendered conversation, they would become real special tokens: turns that nobody
wrote, answers that end early. So before rendering, such spellings are marked with a private-use
character that occurs nowhere in the row, and afterwards the marked stretches are encoded piece by
piece, as plain text. A row without such spellings is encoded in one piece, as usual.

This applies to special tokens, and to tokens that the template itself writes around a user turn.
Other added tokens (`<think>`, `<tool_call>`) keep their meaning in text.

Shapes: T tokens of one text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from bids_core.data.rejects import RejectedRow, shorten
from bids_core.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt
    from transformers import PreTrainedTokenizerBase

    from bids_core.records import Message, ToolCall

Encoding: TypeAlias = "tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]"
Ranges: TypeAlias = "tuple[tuple[int, int], ...]"

_CHARACTERS_PER_CALL: Final = 4 << 20
_PRIVATE: Final = tuple(chr(code) for code in range(0xE0A0, 0xE0B0))
_THINKING: Final = re.compile(r"\A</?\|?(?=\w*think)\w++\|?>\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Controls:
    """The tokens that a row's text must never turn into.

    Args:
        pattern: matches one; None if the tokenizer has none.
    """

    pattern: re.Pattern[str] | None

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, written: str) -> Controls:
        """Collect a tokenizer's control tokens.

        Args:
            tokenizer: the tokenizer.
            written: what the chat template writes around a user's turn.
        """
        added = tokenizer.added_tokens_decoder.values()
        names = {
            token.content
            for token in added
            if token.content.strip()
            and (token.special or token.content in written)
            and not _THINKING.match(token.content)
        }
        longest_first = sorted(names, key=len, reverse=True)
        return cls(re.compile("|".join(map(re.escape, longest_first))) if names else None)

    def spelled_in(self, texts: Iterable[str]) -> bool:
        """Return whether any of these texts spells a control token."""
        return self.pattern is not None and any(map(self.pattern.search, texts))

    def mark(self, value: Any, mark: str) -> Any:
        """Put marks around control tokens in all texts of a value, including object keys."""
        if isinstance(value, str):
            pattern = self.pattern
            return pattern.sub(f"{mark}\\g<0>{mark}", value) if pattern is not None else value
        if isinstance(value, dict):
            return {self.mark(k, mark): self.mark(v, mark) for k, v in value.items()}
        return [self.mark(item, mark) for item in value] if isinstance(value, list) else value

    def mark_message(self, message: Message, mark: str) -> Message:
        """Return a message with all its texts marked."""
        calls = tuple(
            replace(call, name=self.mark(call.name, mark), arguments=self._marked_json(call, mark))
            for call in message.tool_calls
        )
        return replace(
            message,
            content=self.mark(message.content, mark),
            reasoning=self.mark(message.reasoning, mark),
            tool_calls=calls,
            name=None if message.name is None else self.mark(message.name, mark),
            other=self.mark(message.other, mark),
        )

    def _marked_json(self, call: ToolCall, mark: str) -> str:
        return json.dumps(self.mark(json.loads(call.arguments), mark), ensure_ascii=False)


def said(messages: Sequence[Message], tools: str | None) -> Iterator[str]:
    """Yield all texts of a conversation."""
    for message in messages:
        yield from (message.content, message.reasoning, message.name or "", message.other)
        for call in message.tool_calls:
            plain = "\\u" not in call.arguments  # an escape may spell what the raw text does not
            arguments = call.arguments if plain else _spelled_out(call.arguments)
            yield from (call.name, arguments)
    yield tools or ""


def _spelled_out(arguments: str) -> str:
    return json.dumps(json.loads(arguments), ensure_ascii=False)


def unused_mark(texts: Iterable[str]) -> str:
    """Return a private-use character that occurs in none of these texts.

    Raises:
        RejectedRow: they contain all of them.
    """
    joined = "".join(texts)
    for mark in _PRIVATE:
        if mark not in joined:
            return mark
    detail = f"a text spells a special token and contains all of {shorten(''.join(_PRIVATE))}"
    raise RejectedRow("special-token-text", detail)


def unmark(text: str, mark: str) -> tuple[str, Ranges, npt.NDArray[np.int64]]:
    """Remove the marks from a text.

    Returns:
        The text, the marked ranges in it, and for each position in the marked text (including its
        end) the corresponding position in the text.

    Raises:
        RejectedRow: the remaining marks do not pair up.
    """
    is_mark = np.fromiter((char == mark for char in text), dtype=np.bool_, count=len(text))
    places = np.concatenate([[0], np.cumsum(~is_mark)])
    at = places[np.flatnonzero(is_mark)].tolist()
    clean = text.replace(mark, "")
    if len(at) % 2 or json.dumps(mark)[1:-1] in clean:
        detail = "a text spells a special token, which the chat template splits up"
        raise RejectedRow("special-token-text", f"{detail}; change the text")
    ranges = tuple(
        (start, end) for start, end in zip(at[::2], at[1::2], strict=True) if start < end
    )
    return clean, ranges, places


def encode(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[Encoding]:
    """Return ids [T] and offsets [T, 2] of each text, without adding special tokens.

    A character takes up to 350 bytes while it is tokenized, so long texts go few at a time.

    Raises:
        ModelError: the tokenizer has token ids beyond 2^31, or multiplies texts.
    """
    found: list[Encoding] = []
    first, held = 0, 0
    for index, text in enumerate(texts):
        if held and held + len(text) > _CHARACTERS_PER_CALL:
            found += _encode(texts[first:index], tokenizer)
            first, held = index, 0
        held += len(text)
    return found + (_encode(texts[first:], tokenizer) if texts else [])


def _encode(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[Encoding]:
    encoded = tokenizer(
        texts, add_special_tokens=False, truncation=False, padding=False,
        return_offsets_mapping=True, return_attention_mask=False, verbose=False,
    )  # fmt: skip
    try:
        return [
            (np.asarray(ids, dtype=np.int32), np.asarray(offsets, dtype=np.int64).reshape(-1, 2))
            for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ]
    except OverflowError as error:
        msg = (
            f"model.path: the tokenizer.json of {tokenizer.name_or_path} has token ids beyond"
            " 2^31; it is damaged: download it again"
        )
        raise ModelError(msg) from error


def encode_pieces(
    text: str, tokenizer: PreTrainedTokenizerBase, *, cuts: Sequence[int], literal: Ranges
) -> Encoding:
    """Return ids [T] and offsets [T, 2] of a text.

    Args:
        text: the rendered text.
        tokenizer: a fast tokenizer.
        cuts: positions that no token may span.
        literal: ranges whose special tokens are plain text: each is split after its first
            character, so that the tokenizer never sees it whole.

    Raises:
        RejectedRow: a literal range is encoded as a special token all the same.
    """
    inner = [start + 1 for start, end in literal if end - start > 1]
    bounds = sorted({0, len(text), *cuts, *inner})
    pieces = [text[start:end] for start, end in pairwise(bounds)]
    encodings = _encode_as_continued(pieces, tokenizer)
    ids_T = np.concatenate([ids for ids, _ in encodings])
    offsets_T2 = np.concatenate(
        [offsets + start for (_, offsets), start in zip(encodings, bounds, strict=False)]
    )
    _refuse_special(text, ids_T, offsets_T2, literal, tokenizer)
    return ids_T, offsets_T2


def _encode_as_continued(pieces: list[str], tokenizer: PreTrainedTokenizerBase) -> list[Encoding]:
    """Encode pieces of a text, without the prefix that some tokenizers add, except for the first.

    SentencePiece adds a space before each text, but not after a line break. So each piece is
    encoded after a line break, which is then removed.
    """
    (bare, _), (behind, _), (newline, _) = encode(["a", "\na", "\n"], tokenizer)
    n = len(newline)
    if behind[n:].tolist() == bare.tolist():
        return encode(pieces, tokenizer)
    first, rest = encode(pieces[:1], tokenizer), encode([f"\n{p}" for p in pieces[1:]], tokenizer)
    plain = encode(pieces[1:], tokenizer)
    continued = [
        (ids[n:], np.maximum(offsets[n:] - 1, 0)) if ids[:n].tolist() == newline.tolist() else other
        for (ids, offsets), other in zip(rest, plain, strict=True)
    ]
    return [*first, *continued]


def _refuse_special(
    text: str,
    ids_T: npt.NDArray[np.int32],
    offsets_T2: npt.NDArray[np.int64],
    literal: Ranges,
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    for start, end in literal:
        inside_T = (offsets_T2[:, 1] > start) & (offsets_T2[:, 0] < end)
        if special & set(ids_T[inside_T].tolist()):
            detail = (
                f"a text spells the special token {shorten(text[start:end])}, which this tokenizer"
                " cannot write as plain text; change the text"
            )
            raise RejectedRow("special-token-text", detail)
