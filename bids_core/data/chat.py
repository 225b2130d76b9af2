"""A conversation as the model's chat template renders it, and where in the text its answers are.

The completion of a turn is what the model has to say, reasoning, content and tool calls as the
template writes them, and the token that ends the turn (`<|im_end|>`, `</s>`), nothing more: a
newline behind that token is never generated, so it is not learned either. What the template writes
between the generation prompt and the content (gpt-oss's channel) has to be generated, so it belongs
to the completion; a *blank* thought there does not: nobody thought it, and on short answers it
would make most of the gradient (docs/data.md).

The answers' places come from the template, never from a search for role names:
- a template with `{% generation %}` markers says where they are;
- otherwise an answer begins where the conversation so far, rendered with the generation prompt,
  ends; and it ends with its content, looked up right there, or (templates that trim or rewrite
  content, reasoning) by rendering once more with a placeholder in its place; a turn of tool calls
  ends where the conversation up to it does.
A conversation for which that fails is refused, not guessed. What a template leaves out or rewrites
is noted (`bids_core.data.notes`). Which answers are learned, and how much, is decided here and
nowhere else: by the turns' weights and `data.learn`.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from jinja2 import TemplateError

from bids_core.data.literal import Controls, Ranges, said, unmark, unused_mark
from bids_core.data.rejects import RejectedRow, shorten
from bids_core.data.tools import call_dict
from bids_core.errors import ModelError
from bids_core.records import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_GENERATION: Final = re.compile(r"\{%-?\s*generation\s*-?%\}")
_PLACEHOLDER: Final = "PLACEHOLDERzqxjkvbPLACEHOLDER"  # one word, so that no template splits it
_BLANK_THOUGHT: Final = re.compile(r"\s*(?:<(?P<tag>\w*think\w*)>)?\s*</(?(tag)(?P=tag)|think)>\s*")


@dataclass(frozen=True, slots=True)
class Answer:
    """One assistant turn within the rendered text.

    Args:
        turn: its index among the messages.
        start: where it begins, in characters.
        end: where it ends, its end token included.
        weight: how much its tokens count; 0 is not learned.
    """

    turn: int
    start: int
    end: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered conversation.

    Args:
        text: what is tokenized, special tokens written out.
        answers: each assistant turn, ascending.
        literal: ranges of the text whose special tokens are text (`bids_core.data.literal`).
        notes: what is to be said of the row.
    """

    text: str
    answers: tuple[Answer, ...] = ()
    literal: Ranges = ()
    notes: tuple[str, ...] = ()

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """[start, end) of each completion that is learned, in characters, ascending."""
        return tuple((answer.start, answer.end) for answer in self.answers if answer.weight)


class ChatRenderer:
    """Renders conversations with a tokenizer's chat template.

    Args:
        tokenizer: a fast tokenizer of transformers, with a chat template.
        learn: all answers of a conversation, or the last one alone.

    Raises:
        ModelError: it has no chat template, or no character offsets (it is not a fast one).
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, learn: Literal["all", "last"] = "all"
    ) -> None:
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
        self._learn = learn
        self._marked: dict[bool, bool] = {}
        added = (str(token) for token in tokenizer.added_tokens_decoder.values())
        self._specials = sorted(added, key=len, reverse=True)
        if "strftime_now" in self._template(None):
            logger.warning(
                "the chat template prints today's date: rows prepared on another day differ"
            )

    def render(self, messages: Sequence[Message], *, tools: str | None = None) -> Rendered:
        """Render a conversation, and find its completions.

        Args:
            messages: its turns.
            tools: schemas of the tools that the assistant may call, a JSON list.

        Raises:
            RejectedRow: the template refuses it, its completions cannot be told for certain, or
                none of them is learned.
        """
        texts = list(said(messages, tools))
        if not self._controls.spelled_in(texts):
            return self._render(messages, tools)
        mark = unused_mark(texts)
        marked = [self._controls.mark_message(message, mark) for message in messages]
        shown = None if tools is None else json.dumps(self._controls.mark(json.loads(tools), mark))
        return _unmarked(self._render(marked, shown), mark)

    def prompt(self, messages: Sequence[Message], *, tools: str | None = None) -> str:
        """Render turns that wait for an answer, generation prompt included.

        Raises:
            RejectedRow: the template refuses them.
        """
        return self._apply(messages, tools, prompt=True)

    @cached_property
    def _controls(self) -> Controls:
        """The tokens whose spelling in a text is text: the special ones, and a user turn's own."""
        try:
            written = self._apply([Message("user", _PLACEHOLDER)], None, prompt=True)
        except RejectedRow:
            written = ""
        return Controls.of(self._tokenizer, written)

    def _render(self, messages: Sequence[Message], tools: str | None) -> Rendered:
        if messages[-1].role != "assistant":
            text = self._apply(messages, tools, prompt=True)
            return Rendered(text, (), (), tuple(sorted(self._notes(messages, tools, text, ()))))
        if self._is_marked(tools):
            text, answers = self._marked_answers(messages, tools)
        else:
            text = self._apply(messages, tools)
            answers = self._answers(messages, tools, text)
        notes = self._notes(messages, tools, text, answers)
        answers, blank = _without_blank_thoughts(messages, text, answers)
        answers = self._weighted(messages, answers)
        return Rendered(text, answers, (), tuple(sorted({*notes, *blank})))

    def _weighted(
        self, messages: Sequence[Message], answers: Sequence[Answer]
    ) -> tuple[Answer, ...]:
        """Say how much each answer is learned; this is the one place that decides it."""
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

    def _template(self, tools: str | None) -> str:
        """Return the template; some models have another one for rows with tools."""
        schemas = None if tools is None else json.loads(tools)
        return self._tokenizer.get_chat_template(tools=schemas)

    def _is_marked(self, tools: str | None) -> bool:
        """Tell whether the template says where answers are."""
        with_tools = tools is not None
        if with_tools not in self._marked:
            self._marked[with_tools] = bool(_GENERATION.search(self._template(tools)))
        return self._marked[with_tools]

    def _apply(
        self, messages: Sequence[Message], tools: str | None, *, prompt: bool = False
    ) -> str:
        try:
            text = self._tokenizer.apply_chat_template(
                _dicts(messages),
                tools=None if tools is None else json.loads(tools),
                tokenize=False,
                add_generation_prompt=prompt,
            )
        except TemplateError as error:
            raise _refused(error.message or "", messages) from None
        except (TypeError, ValueError, LookupError, AttributeError) as error:  # of the template
            raise _refused(f"{type(error).__name__}: {error}", messages) from None
        return cast("str", text)  # not tokenized, so text

    def _marked_answers(
        self, messages: Sequence[Message], tools: str | None
    ) -> tuple[str, tuple[Answer, ...]]:
        # what apply_chat_template(return_assistant_tokens_mask=True) calls; it gives characters,
        # so that tokens are cut the same way, and in batches, whatever the template
        from transformers.utils.chat_template_utils import render_jinja_template

        options: dict[str, Any] = {
            "conversations": [_dicts(messages)],
            "tools": None if tools is None else json.loads(tools),
            "chat_template": self._template(tools),
            "return_assistant_tokens_mask": True,
            **self._tokenizer.special_tokens_map,
        }
        rendered: Any  # annotated as str; returns texts and, per text, [start, end) pairs
        try:
            rendered = render_jinja_template(**options)
        except TemplateError as error:
            raise _refused(error.message or "", messages) from None
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise _refused(f"{type(error).__name__}: {error}", messages) from None
        (text,), (spans,) = rendered
        turns = [i for i, message in enumerate(messages) if message.role == "assistant"]
        alike = len({messages[i].weight for i in turns}) == 1 and self._learn == "all"
        if len(spans) != len(turns) and not alike:
            detail = (
                f"the chat template marks {len(spans)} places for {len(turns)} answers, so the ones"
                " to be learned cannot be told from the others"
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
        return text, answers

    def _answers(
        self, messages: Sequence[Message], tools: str | None, text: str
    ) -> tuple[Answer, ...]:
        turns = [i for i, message in enumerate(messages) if message.role == "assistant"]
        found = [_Finder(self, messages, tools, text, i).find() for i in turns]
        marker = self._end_marker(text[found[-1][1] :])
        spans = [
            (start, end if ended else self._past(marker, text, end)) for start, end, ended in found
        ]
        for (_, end), (start, _) in pairwise(spans):
            if start < end:
                raise _uncertain("two answers overlap")
        return tuple(Answer(i, *span) for i, span in zip(turns, spans, strict=True))

    def _end_marker(self, tail: str) -> str:
        """Return what ends a turn: the first special token behind the last answer, or the text."""
        tail = tail.strip()
        return self._special_at(tail, 0) or tail

    def _special_at(self, text: str, position: int) -> str:
        return next((token for token in self._specials if text.startswith(token, position)), "")

    def _past(self, marker: str, text: str, end: int) -> int:
        """Return where the marker behind a content ends; the content's end where there is none.

        A turn that others follow may end otherwise than the last one (gpt-oss: `<|end|>`, and
        `<|return|>` at the end of all).
        """
        position = end
        while position < len(text) and text[position].isspace():
            position += 1
        if marker and text.startswith(marker, position):
            return position + len(marker)
        inner = self._special_at(text, position) if marker in self._specials else ""
        return position + len(inner) if inner and inner == self._inner_end else end

    @cached_property
    def _inner_end(self) -> str:
        """The special token behind an answer that is not the last one, in a plain conversation.

        A special token that is all there is before the next question opens that one (GLM).
        """
        turns = [Message("user", "A"), Message("assistant", _PLACEHOLDER),
                 Message("user", _PLACEHOLDER), Message("assistant", "A")]  # fmt: skip
        try:
            _, *between = self._apply(turns, None).split(_PLACEHOLDER)
        except RejectedRow:
            return ""
        gap = between[0].lstrip() if len(between) == 2 else ""
        first = self._special_at(gap, 0)
        return first if any(token in gap[len(first) :] for token in self._specials) else ""

    def _notes(
        self,
        messages: Sequence[Message],
        tools: str | None,
        text: str,
        answers: Sequence[Answer],
    ) -> set[str]:
        """Return what the template leaves out or rewrites, and other things to be said.

        Raises:
            RejectedRow: a tool call, which is the answer, is left out.
        """
        notes: set[str] = set()
        for turn in dict.fromkeys(answer.turn for answer in answers):
            parts = [text[a.start : a.end] for a in answers if a.turn == turn]
            notes |= _lost(messages[turn], "".join(parts), turn)
        if any(m.role != "assistant" and not _holds(text, m.content) for m in messages):
            notes.add("prompt-rewritten")
        if any(message.weight != 1.0 for message in messages):
            notes.add("weighted-turns")
        if answers and _ends_with_content(messages, text, answers[-1]):
            notes.add("no-end-of-turn")
        if tools is not None and not self._shows_tools(messages, tools):
            notes.add("tools-not-shown")
        return notes

    def _shows_tools(self, messages: Sequence[Message], tools: str) -> bool:
        prompt = messages[-1].role != "assistant"
        try:
            without = self._apply(messages, None, prompt=prompt)
        except RejectedRow:
            return True
        return without != self._apply(messages, tools, prompt=prompt)


@dataclass(frozen=True, slots=True)
class _Finder:
    """Looks for one answer in a rendered conversation."""

    renderer: ChatRenderer
    messages: Sequence[Message]
    tools: str | None
    text: str
    i: int

    def find(self) -> tuple[int, int, bool]:
        """Return where the answer begins and ends, and whether its end token is in that."""
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
        changed[self.i] = Message("assistant", _PLACEHOLDER)
        try:
            before, found, after = self._apply(changed).partition(_PLACEHOLDER)
        except RejectedRow:
            raise _uncertain(f"turn {turn} cannot be told from those around it") from None
        if not found or not (text.endswith(after) or self.messages[self.i].tool_calls):
            raise _uncertain(f"it drops or rewrites turn {turn}")
        if start is None:
            start = self._start(before, asked)
        kept = _common(text[::-1], after[::-1])
        end = len(text) - kept
        ended = kept < len(after)
        if ended:  # a turn of tool calls that ends otherwise: its own end token is within
            end = self._whole_token(end)
        if end <= start:
            raise _uncertain(f"nothing of turn {turn} is left")
        return start, end, ended

    def _start(self, before: str, asked: str) -> int:
        """Return where the answer begins, from what the template writes before a placeholder."""
        if self.text.startswith(before):
            return len(before)
        so_far = self._apply(self.messages[: self.i]) if self.i else ""
        header = asked.removeprefix(so_far) if so_far and asked.startswith(so_far) else ""
        alike = _common(self.text, before)
        place = before[:alike].rfind(header) if header else -1
        if place < 0:
            detail = f"it writes turn {self.i + 1} otherwise than its generation prompt"
            raise _uncertain(detail)
        return place + len(header)

    def _whole_token(self, end: int) -> int:
        """Move an end that lies within a special token behind it."""
        for token in self.renderer._specials:
            for back in range(1, len(token)):
                if self.text.startswith(token, end - back):
                    return end - back + len(token)
        return end

    def _apply(self, messages: Sequence[Message], *, prompt: bool = False) -> str:
        return self.renderer._apply(messages, self.tools, prompt=prompt)


def _common(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _ends_with_content(messages: Sequence[Message], text: str, answer: Answer) -> bool:
    """Tell whether nothing behind an answer's content says that it ends there."""
    content = messages[answer.turn].content.strip()
    return bool(content) and text[answer.start : answer.end].rstrip().endswith(content)


def _without_blank_thoughts(
    messages: Sequence[Message], text: str, answers: Sequence[Answer]
) -> tuple[tuple[Answer, ...], set[str]]:
    """Take the blank thought that a template writes, and the row does not, out of each answer."""
    kept, notes = [], set[str]()
    for answer in answers:
        found = _BLANK_THOUGHT.match(text, answer.start, answer.end)
        own = messages[answer.turn].content.lstrip().startswith(("<think", "</think"))
        if found is None or own or found.end() >= answer.end:
            kept.append(answer)
            continue
        notes.add("blank-thought")
        kept.append(replace(answer, start=found.end()))
    return tuple(kept), notes


def _lost(message: Message, written: str, turn: int) -> set[str]:
    """Return notes of what the template left out of an answer."""
    for call in message.tool_calls:
        if call.name not in written:
            detail = (
                f"the chat template leaves out the tool call of turn {turn + 1}"
                f" ({shorten(call.name, 30)}); set model.chat_template to one with tools"
            )
            raise RejectedRow("template-without-tools", detail)
    notes = set()
    if not _holds(written, message.reasoning):
        notes.add("reasoning-dropped")
    if not _holds(written, message.content):
        thought, closed, answer = message.content.rpartition("</think>")
        only_thought = closed and thought.strip() and _holds(written, answer)
        notes.add("reasoning-dropped" if only_thought else "answer-rewritten")
    return notes


def _holds(text: str, piece: str) -> bool:
    """Tell whether a text holds a piece, as it is, as JSON, or with other blanks."""
    if piece.strip() in text or "".join(piece.split()) in "".join(text.split()):
        return True
    return any(json.dumps(piece, ensure_ascii=ascii)[1:-1] in text for ascii in (False, True))


def _unmarked(rendered: Rendered, mark: str) -> Rendered:
    """Take the marks out, and move all positions.

    Raises:
        RejectedRow: the template took a marked text apart, or wrote the mark otherwise.
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


def _dicts(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [_dict(message) for message in messages]


def _dict(message: Message) -> dict[str, Any]:
    """Return a message as templates take it; transformers names the reasoning as each wants it."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning:
        turn["reasoning_content"] = message.reasoning
    if message.tool_calls:
        turn["tool_calls"] = [call_dict(call, parsed=True) for call in message.tool_calls]
    if message.name is not None:
        turn["name"] = message.name
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    return (json.loads(message.other) if message.other else {}) | turn


def _refused(reason: str, messages: Sequence[Message]) -> RejectedRow:
    roles = ", ".join(message.role for message in messages[:6])
    detail = f"the chat template refuses the turns {shorten(roles)}: {reason}"
    fix = "change the row's turns, or set model.chat_template"
    if "system" in reason.lower() and any(m.role == "system" for m in messages):
        fix = "set data.system: merge, or model.chat_template"
    elif "alternat" in reason.lower():
        fix = "set data.join_turns: true, or model.chat_template"
    return RejectedRow("template-refused", f"{detail}; {fix}")


def _uncertain(what: str) -> RejectedRow:
    detail = f"the chat template's answers cannot be told from its prompt: {what}"
    fix = "set model.chat_template to one with {% generation %} markers"
    return RejectedRow("template-changed-content", f"{detail}; {fix}")
