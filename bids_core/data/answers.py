"""Finds the answers in a rendered conversation.

Their positions come from the template, never from a search for role names:
- a template with `{% generation %}` markers states where they are;
- otherwise an answer begins where the conversation so far, rendered with the generation prompt,
  ends. It ends with its content, which must follow right there, or (for templates that trim or
  rewrite content, and for reasoning) is located by rendering again with a placeholder in its place.
  A turn with tool calls ends where the conversation rendered up to it ends.
If this fails, the conversation is rejected; nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from bids_core.data.rejects import RejectedRow
from bids_core.records import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.data.chat_template import ChatTemplate

PLACEHOLDER: Final = "PLACEHOLDERzqxjkvbPLACEHOLDER"  # one word, so that no template splits it


@dataclass(frozen=True, slots=True)
class Answer:
    """One assistant turn within the rendered text.

    Args:
        turn: its index among the messages.
        start: where it begins, in characters.
        end: where it ends, including its end token.
        weight: weight of its tokens in the loss; 0 means not learned.
    """

    turn: int
    start: int
    end: int
    weight: float = 1.0


class AnswerFinder:
    """Finds the answers in conversations rendered by one template.

    Args:
        template: the chat template.
    """

    def __init__(self, template: ChatTemplate) -> None:
        self._template = template

    def marked(
        self, messages: Sequence[Message], spans: Sequence[tuple[int, int]], *, all_alike: bool
    ) -> tuple[Answer, ...]:
        """Return the answers that `{% generation %}` markers enclose.

        Args:
            messages: the turns.
            spans: [start, end) of each stretch that the template marks.
            all_alike: all answers have the same weight, so it does not matter which turn is which.

        Raises:
            RejectedRow: there are none, or it is unclear which turn a stretch belongs to.
        """
        turns = [i for i, message in enumerate(messages) if message.role == "assistant"]
        if len(spans) != len(turns) and not all_alike:
            detail = (
                f"the chat template marks {len(spans)} places for {len(turns)} answers, so it "
                "is unclear which of them to learn"
            )
            raise RejectedRow("unsupported-weights", detail)
        if len(spans) != len(turns):
            turns = [turns[-1]] * len(spans)
        answers = tuple(
            Answer(turn, start, end)
            for turn, (start, end) in zip(turns, spans, strict=True)
            if start < end
        )
        if not answers:
            raise _uncertain("its {% generation %} markers mark no text")
        return answers

    def find(self, messages: Sequence[Message], tools: str | None, text: str) -> tuple[Answer, ...]:
        """Return the answers in a text rendered by a template without markers.

        Raises:
            RejectedRow: they cannot be determined with certainty.
        """
        turns = [i for i, message in enumerate(messages) if message.role == "assistant"]
        found = [_Finder(self._template, messages, tools, text, i).find() for i in turns]
        marker = self._end_marker(text[found[-1][1] :])
        spans = [
            (start, end if ended else self._past(marker, text, end)) for start, end, ended in found
        ]
        for (_, end), (start, _) in pairwise(spans):
            if start < end:
                raise _uncertain("two answers overlap")
        return tuple(Answer(i, *span) for i, span in zip(turns, spans, strict=True))

    def _end_marker(self, tail: str) -> str:
        """Return what ends a turn: the first special token after the last answer, or the text."""
        tail = tail.strip()
        return self._template.special_at(tail, 0) or tail

    def _past(self, marker: str, text: str, end: int) -> int:
        """Return where the end marker after a content ends; the content's end if there is none.

        A turn followed by others may end differently from the last one (gpt-oss: `<|end|>`, but
        `<|return|>` at the very end).
        """
        position = end
        while position < len(text) and text[position].isspace():
            position += 1
        if marker and text.startswith(marker, position):
            return position + len(marker)
        inner = (
            self._template.special_at(text, position) if marker in self._template.specials else ""
        )
        return position + len(inner) if inner and inner == self._inner_end else end

    @cached_property
    def _inner_end(self) -> str:
        """The special token after an answer that is not the last one, in a plain conversation.

        If it is all there is before the next question, it opens that question instead (GLM).
        """
        turns = [Message("user", "A"), Message("assistant", PLACEHOLDER),
                 Message("user", PLACEHOLDER), Message("assistant", "A")]  # fmt: skip
        try:
            _, *between = self._template.apply(turns, None).split(PLACEHOLDER)
        except RejectedRow:
            return ""
        gap = between[0].lstrip() if len(between) == 2 else ""
        first = self._template.special_at(gap, 0)
        return first if any(token in gap[len(first) :] for token in self._template.specials) else ""


@dataclass(frozen=True, slots=True)
class _Finder:
    """Looks for one answer in a rendered conversation."""

    template: ChatTemplate
    messages: Sequence[Message]
    tools: str | None
    text: str
    i: int

    def find(self) -> tuple[int, int, bool]:
        """Return where the answer begins and ends, and whether that includes its end token."""
        messages, i, text = self.messages, self.i, self.text
        message = messages[i]
        before = self._apply(messages[:i], prompt=True) if i else ""
        start = len(before) if i and text.startswith(before) else None
        if start is not None and not message.tool_calls:
            for content in (message.content, message.content.strip()):
                if text.startswith(content, start):
                    return start, start + len(content), False
        if message.tool_calls and start is not None:
            upto = text if i == len(messages) - 1 else self._apply(messages[: i + 1])
            end = len(upto.rstrip())
            if end > start and text.startswith(upto[:end]):
                return start, end, True
        return self._by_placeholder(start, before)

    def _by_placeholder(self, start: int | None, asked: str) -> tuple[int, int, bool]:
        text, turn = self.text, self.i + 1
        changed = [*self.messages]
        changed[self.i] = Message("assistant", PLACEHOLDER)
        try:
            before, found, after = self._apply(changed).partition(PLACEHOLDER)
        except RejectedRow:
            raise _uncertain(f"turn {turn} cannot be separated from the turns around it") from None
        if not found or not (text.endswith(after) or self.messages[self.i].tool_calls):
            raise _uncertain(f"it drops or rewrites turn {turn}")
        if start is None:
            start = self._start(before, asked)
        kept = _common(text[::-1], after[::-1])
        end = len(text) - kept
        ended = kept < len(after)
        if ended:  # a turn with tool calls and another end token, which is included
            end = self._whole_token(end)
        if end <= start:
            raise _uncertain(f"it drops all of turn {turn}")
        return start, end, ended

    def _start(self, before: str, asked: str) -> int:
        """Return where the answer begins, given what the template writes before a placeholder."""
        if self.text.startswith(before):
            return len(before)
        so_far = self._apply(self.messages[: self.i]) if self.i else ""
        header = asked.removeprefix(so_far) if so_far and asked.startswith(so_far) else ""
        alike = _common(self.text, before)
        place = before[:alike].rfind(header) if header else -1
        if place < 0:
            detail = f"it writes turn {self.i + 1} differently from its generation prompt"
            raise _uncertain(detail)
        return place + len(header)

    def _whole_token(self, end: int) -> int:
        """Move an end that falls inside a special token to after that token."""
        for token in self.template.specials:
            for back in range(1, len(token)):
                if self.text.startswith(token, end - back):
                    return end - back + len(token)
        return end

    def _apply(self, messages: Sequence[Message], *, prompt: bool = False) -> str:
        return self.template.apply(messages, self.tools, prompt=prompt)


def _common(one: str, other: str) -> int:
    """Return the length of the common prefix of two texts."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _uncertain(what: str) -> RejectedRow:
    detail = f"the answers cannot be located in the chat template's output: {what}"
    fix = "set model.chat_template to one with {% generation %} markers"
    return RejectedRow("template-changed-content", f"{detail}; {fix}")
