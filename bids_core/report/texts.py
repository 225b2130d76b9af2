"""Conversations as the page shows them."""

from __future__ import annotations

import json
from typing import Any, Final

from bids_core.data import from_json
from bids_core.data.conversation import said

_PLAIN: Final = frozenset(("role", "content"))
LONGEST: Final = 1600
"""Most characters shown of a text once it is opened."""
_GLANCE: Final = 150
"""Characters that are shown before a text is opened."""


def turns_of(messages: str) -> list[tuple[str, str]]:
    """Return the role and text of every turn of a conversation (messages as JSON)."""
    turns = json.loads(messages)
    if all(turn.keys() == _PLAIN for turn in turns):  # the most common case by far: a fast path
        return [(turn["role"], turn["content"]) for turn in turns]
    return [(message.role, said(message)) for message in from_json(messages)]


def conversation(messages: str | None) -> dict[str, Any] | None:
    """Cut a conversation (messages as JSON) for the page.

    Returns:
        `glance` (beginning of the last question), `answer` (beginning of the last answer), and
        `turns` (role and text of every turn, cut); None if there is no conversation.
    """
    if messages is None:
        return None
    turns = turns_of(messages)
    asked = next((content for role, content in reversed(turns) if role == "user"), "")
    answer = turns[-1][1] if turns and turns[-1][0] == "assistant" else ""
    return {
        "glance": cut(" ".join(asked.split()), _GLANCE),
        "answer": cut(" ".join(answer.split()), _GLANCE // 2),
        "turns": [{"role": role, "content": cut(content, LONGEST)} for role, content in turns],
    }


def cut(text: str, length: int) -> str:
    """Cut a text, and mark the cut."""
    return text if len(text) <= length else f"{text[:length].rstrip()} \N{HORIZONTAL ELLIPSIS}"


def text_or_none(value: object) -> str | None:
    """Return a text, or None for any of pandas' missing values."""
    return value if isinstance(value, str) and value else None
