"""What a conversation must be, and how it splits into prompt and completion."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from bids_core.data.rejects import RejectedRow, shorten
from bids_core.records import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

ROLES: Final = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant",
    "bot": "assistant", "bing": "assistant", "bard": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool",
}  # fmt: skip
"""Role as OpenAI, ShareGPT and other files name it -> role of a `Message`."""


def prompt_messages(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return what the model is shown: all turns before the last answer.

    A conversation without an answer (a test row that has only a prompt) is shown whole.
    """
    if messages and messages[-1].role == "assistant":
        return tuple(messages[:-1])
    return tuple(messages)


def completion_text(messages: Sequence[Message]) -> str:
    """Return the text of the last answer; empty for a test row that has only a prompt."""
    return messages[-1].content if messages and messages[-1].role == "assistant" else ""


def standard_role(role: object) -> str:
    """Return the role of a `Message`.

    Raises:
        RejectedRow: it is unknown.
    """
    known = ROLES.get(role.strip().lower()) if isinstance(role, str) else None
    if known is None:
        detail = f"role {shorten(role, 30)}; use system, user, assistant or tool"
        raise RejectedRow("unknown-role", detail)
    return known


def strip_completions(messages: Sequence[Message], suffix: str | None) -> list[Message]:
    """Remove a suffix from the end of every answer, and the blanks that follow it."""
    if not suffix:
        return list(messages)
    return [
        Message(m.role, _without_suffix(m.content, suffix)) if m.role == "assistant" else m
        for m in messages
    ]


def check_conversation(messages: Sequence[Message], *, prompt_only: bool = False) -> None:
    """Make sure that a conversation can be learned from (or, `prompt_only`, answered).

    Raises:
        RejectedRow: a turn is blank or not text, or the order of turns leaves nothing to learn.
    """
    roles = [message.role for message in messages]
    if "user" not in roles:
        raise RejectedRow("no-user-turn", "there is no user turn; add the prompt")
    if not prompt_only:
        if "assistant" not in roles:
            raise RejectedRow("no-assistant-turn", "there is no assistant turn; add the answer")
        if roles[-1] != "assistant":
            detail = f"the last turn is of role {roles[-1]!r}; remove it or add the answer"
            raise RejectedRow("last-turn-not-assistant", detail)
    for number, message in enumerate(messages, start=1):
        check_text(message.content)
        if not message.content.strip():
            _refuse_blank(message, number)


def check_text(text: str) -> None:
    """Make sure that a text can be tokenized.

    Raises:
        RejectedRow: it holds NUL characters or lone surrogates.
    """
    if "\x00" in text:
        raise RejectedRow("null-bytes", "a text holds NUL characters; remove them")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        detail = f"character {error.start + 1} of a text is no valid Unicode; convert to UTF-8"
        raise RejectedRow("not-utf8", detail) from None


def to_json(messages: Sequence[Message]) -> str:
    """Return a conversation as JSON, in the form that OpenAI and TRL read."""
    return json.dumps(
        [{"role": m.role, "content": m.content} for m in messages], ensure_ascii=False
    )


def from_json(text: str) -> tuple[Message, ...]:
    """Return the conversation that `to_json` wrote."""
    return tuple(Message(turn["role"], turn["content"]) for turn in json.loads(text))


def _without_suffix(text: str, suffix: str) -> str:
    trimmed = text.rstrip()
    if text.endswith(suffix):
        return text[: -len(suffix)]
    return trimmed[: -len(suffix)] if trimmed.endswith(suffix) else text


def _refuse_blank(message: Message, number: int) -> None:
    """Raise for a blank question or answer; a blank system or tool turn is somebody's will."""
    if message.role == "assistant":
        detail = f"the assistant's turn {number} is blank; add the answer or remove the row"
        raise RejectedRow("empty-completion", detail)
    if message.role == "user":
        detail = f"the user's turn {number} is blank; add the prompt or remove the row"
        raise RejectedRow("empty-prompt", detail)
