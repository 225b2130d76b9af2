"""A conversation as the model's chat template renders it, and where in the text its answers are.

The completion of a turn is its content and the end-of-turn marker (`<|im_end|>`, `</s>`) behind
it, nothing more: a newline that the template puts behind the marker is never generated, so it is
not learned either. What the template writes between the generation prompt and the content (the
blank `<think>` block of some) has to be generated, so it belongs to the completion.

The answers' places come from the template, never from a search for role names:
- a template with `{% generation %}` markers says where they are;
- otherwise an answer begins where the conversation so far, rendered with the generation prompt,
  ends; and it ends with its content, looked up right there, or (templates that trim or rewrite
  content) by rendering once more with a placeholder in its place.
A conversation for which that fails is refused, not guessed.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, cast

from jinja2 import TemplateError

from bids_core.data.rejects import RejectedRow, shorten
from bids_core.errors import ModelError
from bids_core.records import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_GENERATION: Final = re.compile(r"\{%-?\s*generation\s*-?%\}")
_PLACEHOLDER: Final = "PLACEHOLDERzqxjkvbPLACEHOLDER"  # one word, so that no template splits it


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered conversation.

    Args:
        text: what is tokenized, special tokens written out.
        spans: [start, end) of each completion, in characters, ascending.
    """

    text: str
    spans: tuple[tuple[int, int], ...]


class ChatRenderer:
    """Renders conversations with a tokenizer's chat template.

    Args:
        tokenizer: a fast tokenizer of transformers, with a chat template.

    Raises:
        ModelError: it has no chat template, or no character offsets (it is not a fast one).
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not getattr(tokenizer, "chat_template", None):
            msg = (
                f"the tokenizer of {tokenizer.name_or_path or 'the model'!r} has no chat template;"
                " set model.chat_template to a file with one"
            )
            raise ModelError(msg)
        if not tokenizer.is_fast:
            msg = (
                f"the tokenizer of {tokenizer.name_or_path or 'the model'!r} gives no character"
                " offsets; use a model with a fast tokenizer (a tokenizer.json)"
            )
            raise ModelError(msg)
        self._tokenizer = tokenizer
        self._template: str = tokenizer.get_chat_template()
        self._marked = bool(_GENERATION.search(self._template))
        added = (str(token) for token in tokenizer.added_tokens_decoder.values())
        self._specials = sorted(added, key=len, reverse=True)
        if "strftime_now" in self._template:
            logger.warning(
                "the chat template prints today's date: rows prepared on another day differ"
            )

    def render(self, messages: Sequence[Message]) -> Rendered:
        """Render a conversation, and find its completions.

        Raises:
            RejectedRow: the template refuses it, or its completions can not be told for certain.
        """
        if messages[-1].role != "assistant":
            return Rendered(self._apply(messages, prompt=True), ())
        if self._marked:
            return self._render_marked(messages)
        text = self._apply(messages)
        answers = [i for i, message in enumerate(messages) if message.role == "assistant"]
        contents = [self._content(messages, i, text) for i in answers]
        marker = self._end_marker(text[contents[-1][1] :])
        spans = tuple((start, _past(marker, text, end)) for start, end in contents)
        for (_, end), (start, _) in pairwise(spans):
            if start < end:
                raise _uncertain("two answers overlap")
        return Rendered(text, spans)

    def prompt(self, messages: Sequence[Message]) -> str:
        """Render turns that wait for an answer, generation prompt included.

        Raises:
            RejectedRow: the template refuses them.
        """
        return self._apply(messages, prompt=True)

    def _apply(self, messages: Sequence[Message], *, prompt: bool = False) -> str:
        try:
            text = self._tokenizer.apply_chat_template(
                _dicts(messages), tokenize=False, add_generation_prompt=prompt
            )
        except TemplateError as error:
            raise _refused(error, messages) from None
        return cast("str", text)  # not tokenized, so text

    def _render_marked(self, messages: Sequence[Message]) -> Rendered:
        # what apply_chat_template(return_assistant_tokens_mask=True) calls; it gives characters,
        # so that tokens are cut the same way, and in batches, whatever the template
        from transformers.utils.chat_template_utils import render_jinja_template

        options: dict[str, Any] = {
            "conversations": [_dicts(messages)],
            "chat_template": self._template,
            "return_assistant_tokens_mask": True,
            **self._tokenizer.special_tokens_map,
        }
        rendered: Any  # annotated as str; returns texts and, per text, [start, end) pairs
        try:
            rendered = render_jinja_template(**options)
        except TemplateError as error:
            raise _refused(error, messages) from None
        (text,), (marked,) = rendered
        spans = tuple((start, end) for start, end in marked if start < end)
        if not spans:
            raise _uncertain("its {% generation %} markers mark no text")
        return Rendered(text, spans)

    def _content(self, messages: Sequence[Message], i: int, text: str) -> tuple[int, int]:
        """Return where answer i begins, and where its content ends."""
        before = self._apply(messages[:i], prompt=True) if i else ""
        start = len(before) if i and text.startswith(before) else None
        if start is not None:
            for content in (messages[i].content, messages[i].content.strip()):
                if text.startswith(content, start):
                    return start, start + len(content)
        return self._content_by_placeholder(messages, i, text, start)

    def _content_by_placeholder(
        self, messages: Sequence[Message], i: int, text: str, start: int | None
    ) -> tuple[int, int]:
        changed = [*messages[:i], Message("assistant", _PLACEHOLDER), *messages[i + 1 :]]
        before, found, after = self._apply(changed).partition(_PLACEHOLDER)
        if not found or not text.endswith(after):
            raise _uncertain(f"it drops or rewrites turn {i + 1}")
        if start is None:
            if not text.startswith(before):
                raise _uncertain(f"it writes turn {i + 1} otherwise than its generation prompt")
            start = len(before)
        end = len(text) - len(after)
        if end <= start:
            raise _uncertain(f"nothing of turn {i + 1} is left")
        return start, end

    def _end_marker(self, tail: str) -> str:
        """Return what ends a turn: the first special token behind the last answer, or the text."""
        tail = tail.strip()
        return next((token for token in self._specials if tail.startswith(token)), tail)


def _past(marker: str, text: str, end: int) -> int:
    """Return where the marker behind a content ends; the content's end where there is none."""
    position = end
    while position < len(text) and text[position].isspace():
        position += 1
    return position + len(marker) if marker and text.startswith(marker, position) else end


def _dicts(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _refused(error: TemplateError, messages: Sequence[Message]) -> RejectedRow:
    roles = ", ".join(message.role for message in messages[:6])
    detail = f"the chat template refuses the turns {shorten(roles)}: {error.message}"
    fix = "change the row's turns, or set model.chat_template"
    return RejectedRow("template-refused", f"{detail}; {fix}")


def _uncertain(what: str) -> RejectedRow:
    detail = f"the chat template's answers can not be told from its prompt: {what}"
    fix = "set model.chat_template to one with {% generation %} markers"
    return RejectedRow("template-changed-content", f"{detail}; {fix}")
