"""Notes on what a chat template leaves out of a conversation, rewrites or adds."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from bids_core.data.rejects import RejectedRow, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.data.answers import Answer
    from bids_core.data.chat_template import ChatTemplate
    from bids_core.records import Message

_BLANK_THOUGHT: Final = re.compile(
    r"\s*+(?:<(?P<tag>(?=\w*think)\w++)>)?\s*+</(?(tag)(?P=tag)|think)>\s*"
)


def template_notes(
    template: ChatTemplate,
    messages: Sequence[Message],
    tools: str | None,
    text: str,
    answers: Sequence[Answer],
) -> set[str]:
    """Return what the template leaves out or rewrites, and other notes.

    Raises:
        RejectedRow: a tool call, which is part of the answer, is left out.
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
    if tools is not None and not _shows_tools(template, messages, tools):
        notes.add("tools-not-shown")
    return notes


def _shows_tools(template: ChatTemplate, messages: Sequence[Message], tools: str) -> bool:
    prompt = messages[-1].role != "assistant"
    try:
        without = template.apply(messages, None, prompt=prompt)
    except RejectedRow:
        return True
    return without != template.apply(messages, tools, prompt=prompt)


def without_blank_thoughts(
    messages: Sequence[Message], text: str, answers: Sequence[Answer]
) -> tuple[tuple[Answer, ...], set[str]]:
    """Remove from each answer the blank thought that the template added to it."""
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


def _ends_with_content(messages: Sequence[Message], text: str, answer: Answer) -> bool:
    """Return whether an answer ends with its content, without an end token."""
    content = messages[answer.turn].content.strip()
    return bool(content) and text[answer.start : answer.end].rstrip().endswith(content)


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
    """Return whether a text contains a piece: verbatim, JSON-escaped, or with other whitespace."""
    if piece.strip() in text or "".join(piece.split()) in "".join(text.split()):
        return True
    return any(json.dumps(piece, ensure_ascii=ascii)[1:-1] in text for ascii in (False, True))
