"""Thoughts before an answer: where they end, and answers cut off inside them.

A thought comes first in an answer, between two markers; the chat template may have opened it in the
prompt. Only the text after it is judged. An answer cut off inside a thought does not show what the
model would have answered, so it is counted but not judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Decode = Callable[[list[int], bool], str]
    """Token ids to text, special tokens written out or not."""

MARKERS: Final = (
    ("<think>", "</think>"),  # Qwen, DeepSeek, SmolLM3, GLM, Granite, Nemotron, ...
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),  # GPT-OSS
)
"""Beginning and end of a thought, as models write them."""


@dataclass(frozen=True, slots=True)
class Thought:
    """The thought in an answer.

    Args:
        n_tokens: tokens of the answer up to the end of its thought; all of them if the thought is
            open.
        is_open: whether it has not ended.
    """

    n_tokens: int
    is_open: bool


def find_thought(
    tokens: list[int],
    decode: Decode,
    *,
    prompt: str = "",
    markers: Sequence[tuple[str, str]] = MARKERS,
) -> Thought | None:
    """Find the thought at the beginning of an answer.

    Args:
        tokens: token ids of the answer.
        decode: token ids to text.
        prompt: text before the answer, including special tokens; it may open the thought.
        markers: beginnings and ends of thoughts.

    Returns:
        The thought; None if the answer does not begin with one.
    """
    text = decode(tokens, False).lstrip()
    for opening, closing in markers:
        opened = text.startswith(opening) or prompt.rstrip().endswith(opening)
        if closing in text if opened else text.startswith(closing):
            return Thought(_tokens_up_to(closing, tokens, decode), is_open=False)
        if opened:
            return Thought(len(tokens), is_open=True)
    return None


def text_behind_thought(text: str, markers: Sequence[tuple[str, str]] = MARKERS) -> str:
    """Return a reference answer without the thought at its beginning, if any."""
    for opening, closing in markers:
        if text.lstrip().startswith((opening, closing)) and closing in text:
            return text.rpartition(closing)[2].strip()
    return text


def _tokens_up_to(closing: str, tokens: list[int], decode: Decode) -> int:
    """Return the number of tokens up to the last end of a thought."""
    n_found = decode(tokens, False).count(closing)
    low, high = 1, len(tokens)
    while low < high:
        middle = (low + high) // 2
        if decode(tokens[:middle], False).count(closing) >= n_found:
            high = middle
        else:
            low = middle + 1
    return low
