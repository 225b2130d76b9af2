"""Renders conversations with the model's chat template, and locates the answers in the text.

The completion of a turn is what the model must generate: reasoning, content and tool calls as the
template writes them, and the token that ends the turn (`<|im_end|>`, `</s>`). Nothing more: a
newline after that token is never generated, so it is not learned either. What the template writes
between the generation prompt and the content (gpt-oss's channel) must be generated, so it belongs
to the completion. A *blank* thought there does not: it is not in the data, and on short answers it
would dominate the gradient (docs/data.md).

`answers` finds where the answers are; `left_out` and `notes` record what a template leaves out or
rewrites. Which answers are learned, and with what weight, is decided only here, from the turns'
weights and `data.learn`.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from bids_core.data.answers import PLACEHOLDER, Answer, AnswerFinder
from bids_core.data.chat_template import ChatTemplate
from bids_core.data.left_out import template_notes, without_blank_thoughts
from bids_core.data.literal import Controls, Ranges, said, unmark, unused_mark
from bids_core.data.rejects import RejectedRow
from bids_core.data.templates import STEPS
from bids_core.records import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered conversation.

    Args:
        text: the text to tokenize, with special tokens written out.
        answers: all assistant turns, in order.
        literal: ranges of the text in which special tokens are plain text
            (`bids_core.data.literal`).
        notes: codes of `bids_core.data.notes` for the row.
    """

    text: str
    answers: tuple[Answer, ...] = ()
    literal: Ranges = ()
    notes: tuple[str, ...] = ()

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """[start, end) of each learned completion, in characters, in order."""
        return tuple((answer.start, answer.end) for answer in self.answers if answer.weight)


class ChatRenderer:
    """Renders conversations with a tokenizer's chat template.

    Args:
        tokenizer: a fast transformers tokenizer with a chat template.
        learn: all answers of a conversation, or only the last one.
        steps: limit for one rendering (`data.template_steps`).

    Raises:
        ModelError: the tokenizer has no valid Jinja chat template, or no character offsets (it is
            not a fast one).
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        learn: Literal["all", "last"] = "all",
        steps: int = STEPS,
    ) -> None:
        self._tokenizer = tokenizer
        self._template = ChatTemplate(tokenizer, steps=steps)
        self._finder = AnswerFinder(self._template)
        self._learn = learn
        if "strftime_now" in self._template.text(None):
            logger.warning(
                "the chat template prints today's date: rows prepared on another day differ"
            )

    def render(self, messages: Sequence[Message], *, tools: str | None = None) -> Rendered:
        """Render a conversation, and find its completions.

        Args:
            messages: its turns.
            tools: schemas of the tools that the assistant may call, as a JSON list.

        Raises:
            RejectedRow: the template raises an error, the completions cannot be determined with
                certainty, or none of them is learned.
        """
        texts = list(said(messages, tools))
        if not self._controls.spelled_in(texts):
            return self._render(messages, tools)
        mark = unused_mark(texts)
        marked = [self._controls.mark_message(message, mark) for message in messages]
        shown = None if tools is None else json.dumps(self._controls.mark(json.loads(tools), mark))
        return _unmarked(self._render(marked, shown), mark)

    def prompt(self, messages: Sequence[Message], *, tools: str | None = None) -> str:
        """Render turns that await an answer, including the generation prompt.

        Raises:
            RejectedRow: the template raises an error.
        """
        return self._template.apply(messages, tools, prompt=True)

    @cached_property
    def _controls(self) -> Controls:
        """The tokens that stay plain text if a row spells them."""
        try:
            written = self._template.apply([Message("user", PLACEHOLDER)], None, prompt=True)
        except RejectedRow:
            written = ""
        return Controls.of(self._tokenizer, written)

    def _render(self, messages: Sequence[Message], tools: str | None) -> Rendered:
        if messages[-1].role != "assistant":
            text = self._template.apply(messages, tools, prompt=True)
            notes = template_notes(self._template, messages, tools, text, ())
            return Rendered(text, (), (), tuple(sorted(notes)))
        if self._template.marks_answers(tools):
            text, spans = self._template.apply_marked(messages, tools)
            answers = self._finder.marked(messages, spans, all_alike=self._learns_alike(messages))
        else:
            text = self._template.apply(messages, tools)
            answers = self._finder.find(messages, tools, text)
        notes = template_notes(self._template, messages, tools, text, answers)
        answers, blank = without_blank_thoughts(messages, text, answers)
        answers = self._weighted(messages, answers)
        return Rendered(text, answers, (), tuple(sorted({*notes, *blank})))

    def _weighted(
        self, messages: Sequence[Message], answers: Sequence[Answer]
    ) -> tuple[Answer, ...]:
        """Return the answers with their weights; the only place that decides them."""
        last = answers[-1].turn
        weighted = tuple(
            replace(
                answer,
                weight=messages[answer.turn].weight
                if self._learn == "all" or answer.turn == last
                else 0.0,
            )
            for answer in answers
        )
        if not any(answer.weight for answer in weighted):
            which = "every answer" if self._learn == "all" else "the last answer"
            detail = (
                f"{which} has weight 0 (weight, train, loss_weight); remove the row or the mark"
            )
            raise RejectedRow("nothing-to-learn", detail)
        return weighted

    def _learns_alike(self, messages: Sequence[Message]) -> bool:
        weights = {message.weight for message in messages if message.role == "assistant"}
        return len(weights) == 1 and self._learn == "all"


def _unmarked(rendered: Rendered, mark: str) -> Rendered:
    """Remove the marks, and adjust all positions.

    Raises:
        RejectedRow: the template split a marked text, or altered a mark.
    """
    text, literal, places = unmark(rendered.text, mark)
    return Rendered(
        text,
        tuple(_moved(answer, places) for answer in rendered.answers),
        literal,
        tuple(sorted({*rendered.notes, "special-text"})),
    )


def _moved(answer: Answer, places: npt.NDArray[np.int64]) -> Answer:
    return replace(answer, start=int(places[answer.start]), end=int(places[answer.end]))
