"""Checks on conversations, and how they split into prompt and completion."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from bids_core.data.rejects import RejectedRow, shorten
from bids_core.records import Message, ToolCall

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

    A conversation without an answer (a test row that has only a prompt) is returned whole.
    """
    if messages and messages[-1].role == "assistant":
        return tuple(messages[:-1])
    return tuple(messages)


def completion_text(messages: Sequence[Message]) -> str:
    """Return the text of the last answer, with its tool calls as JSON, one per line.

    Empty for a test row that has only a prompt.
    """
    if not messages or messages[-1].role != "assistant":
        return ""
    calls = [
        json.dumps({"name": call.name, "arguments": json.loads(call.arguments)}, ensure_ascii=False)
        for call in messages[-1].tool_calls
    ]
    return "\n".join([*([messages[-1].content] if messages[-1].content else []), *calls])


def said(message: Message) -> str:
    """Return a turn's reasoning, content and tool calls as readable text."""
    calls = [f"{call.name}({call.arguments})" for call in message.tool_calls]
    parts = [f"({message.reasoning})"] if message.reasoning else []
    return "\n".join([*parts, *([message.content] if message.content else []), *calls])


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
    """Remove a suffix, and any whitespace after it, from the end of every answer."""
    if not suffix:
        return list(messages)
    return [
        replace(m, content=_without_suffix(m.content, suffix)) if m.role == "assistant" else m
        for m in messages
    ]


def merge_system(messages: Sequence[Message]) -> list[Message]:
    """Prepend system turns to the next user turn, for templates that reject system turns."""
    merged: list[Message] = []
    waiting: list[str] = []
    for message in messages:
        if message.role == "system":
            waiting += [message.content] if message.content.strip() else []
        elif message.role == "user" and waiting:
            merged.append(replace(message, content="\n\n".join([*waiting, message.content])))
            waiting = []
        else:
            merged.append(message)
    if waiting:
        raise RejectedRow(
            "no-user-turn", "no user turn follows the system turn that data.system: merge moves"
        )
    return merged


def join_turns(messages: Sequence[Message]) -> list[Message]:
    """Join consecutive turns of one speaker, for templates that require alternating turns.

    Only plain text is joined: user turns, and answers of equal weight without tool calls.
    """
    joined: list[Message] = []
    for message in messages:
        last = joined[-1] if joined else None
        if last is not None and _are_one(last, message):
            joined[-1] = replace(last, content=f"{last.content}\n\n{message.content}")
        else:
            joined.append(message)
    return joined


def _are_one(last: Message, message: Message) -> bool:
    plain = not (last.tool_calls or message.tool_calls or message.reasoning)
    alike = last.role == message.role and last.weight == message.weight
    return message.role in ("user", "assistant") and alike and plain


def check_conversation(messages: Sequence[Message], *, prompt_only: bool = False) -> None:
    """Check that a conversation can be learned from (or, with `prompt_only`, answered).

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
        calls = [text for call in message.tool_calls for text in (call.name, call.arguments)]
        for text in (message.content, message.reasoning, message.name or "", *calls):
            check_text(text)
        if not message.content.strip() and not message.tool_calls:
            _refuse_blank(message, number)


def check_text(text: str) -> None:
    """Check that a text can be tokenized.

    Raises:
        RejectedRow: it holds NUL characters or lone surrogates.
    """
    if "\x00" in text:
        raise RejectedRow("null-bytes", "a text holds NUL characters; remove them")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        detail = f"character {error.start + 1} of a text is not valid Unicode; convert to UTF-8"
        raise RejectedRow("not-utf8", detail) from None


def to_dicts(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return a conversation in the format of OpenAI and TRL."""
    return [_as_dict(message) for message in messages]


def to_json(messages: Sequence[Message]) -> str:
    """Return a conversation as JSON, in the format of OpenAI and TRL."""
    return json.dumps(to_dicts(messages), ensure_ascii=False)


def from_json(text: str) -> tuple[Message, ...]:
    """Return the conversation that `to_json` wrote."""
    return tuple(_from_dict(turn) for turn in json.loads(text))


def _as_dict(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning:
        turn["reasoning_content"] = message.reasoning
    if message.tool_calls:
        turn["tool_calls"] = [
            ({"id": call.id} if call.id is not None else {})
            | {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    for field in ("name", "tool_call_id"):
        if getattr(message, field) is not None:
            turn[field] = getattr(message, field)
    if message.weight != 1.0:
        turn["weight"] = message.weight
    return turn | (json.loads(message.other) if message.other else {})


def _from_dict(turn: dict[str, Any]) -> Message:
    known = {"role", "content", "reasoning_content", "tool_calls", "name", "tool_call_id", "weight"}
    other = {key: value for key, value in turn.items() if key not in known}
    return Message(
        turn["role"],
        turn["content"],
        reasoning=turn.get("reasoning_content", ""),
        tool_calls=tuple(
            ToolCall(call["function"]["name"], call["function"]["arguments"], call.get("id"))
            for call in turn.get("tool_calls", ())
        ),
        name=turn.get("name"),
        tool_call_id=turn.get("tool_call_id"),
        weight=float(turn.get("weight", 1.0)),
        other=json.dumps(other, ensure_ascii=False) if other else "",
    )


def _without_suffix(text: str, suffix: str) -> str:
    trimmed = text.rstrip()
    if text.endswith(suffix):
        return text[: -len(suffix)]
    return trimmed[: -len(suffix)] if trimmed.endswith(suffix) else text


def _refuse_blank(message: Message, number: int) -> None:
    """Raise for a blank question or answer; a blank system or tool turn may be intended."""
    if message.role == "assistant":
        detail = f"the assistant's turn {number} is blank; add the answer or remove the row"
        raise RejectedRow("empty-completion", detail)
    if message.role == "user":
        detail = f"the user's turn {number} is blank; add the prompt or remove the row"
        raise RejectedRow("empty-prompt", detail)
