"""The shapes that rows come in, told apart by their field names, and made into conversations.

| format | fields |
| --- | --- |
| messages | `messages`: list of {role, content}; content is text or a list of text parts |
| sharegpt | `conversations`: list of {from, value}; also `system` |
| alpaca | `instruction`, `input` (or `context`), `output` (or `response`); also `system` |
| prompt_completion | `prompt`, `completion` (or `response`): texts, or lists of messages (TRL) |
| question_answer | `question` (or `query`), `answer` (or `response`) |

Each row is looked at by itself, so a file may mix formats. All assistant turns of a conversation
are learned, those in a TRL `prompt` list too.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from bids_core.data.conversation import standard_role
from bids_core.data.rejects import RejectedRow, shorten
from bids_core.records import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

_LISTS: Final = {"messages": ("messages",), "sharegpt": ("conversations", "conversation")}
_PAIRS: Final = {
    "alpaca": (("instruction",), ("output", "response")),
    "prompt_completion": (("prompt",), ("completion", "response")),
    "question_answer": (("question", "query"), ("answer", "response")),
}
FORMATS: Final = (*_LISTS, *_PAIRS)


def detect(row: Mapping[str, Any]) -> str:
    """Return the format of a row: the first of `FORMATS` whose fields are all there.

    Raises:
        RejectedRow: none fits; names the field that is missing from the nearest one.
    """
    for name, fields in _LISTS.items():
        if any(field in row for field in fields):
            return name
    for name, (asks, answers) in _PAIRS.items():
        if any(field in row for field in asks) and any(field in row for field in answers):
            return name
    for asks, answers in _PAIRS.values():
        for one, other in ((asks, answers), (answers, asks)):
            present = [field for field in one if field in row]
            if present:
                raise _missing(other, row, f"{present[0]!r} is there, but not")
    raise RejectedRow(
        "missing-field", f"no known format has the fields {_names(row)}; set a `mapping`"
    )


def to_messages(row: Mapping[str, Any], form: str) -> list[Message]:
    """Return the conversation that a row holds.

    Args:
        row: its fields.
        form: one of `FORMATS`, or `auto`.

    Raises:
        RejectedRow: a field is missing or of the wrong type.
    """
    form = detect(row) if form == "auto" else form
    if form in _LISTS:
        return _with_system(turns(_need(row, _LISTS[form])[1]), row.get("system"))
    asks, answers = _PAIRS[form]
    ask_field, ask = _need(row, asks)
    answer_field, answer = _need(row, answers)
    if form == "alpaca":
        ask = _instruction(ask, row)
    return _with_system(pair(ask, answer, fields=(ask_field, answer_field)), row.get("system"))


def pair(ask: object, answer: object, *, fields: tuple[str, str]) -> list[Message]:
    """Return the conversation of a prompt and a completion, texts or lists of messages."""
    before = turns(ask) if isinstance(ask, list) else [Message("user", text(ask, fields[0]))]
    if isinstance(answer, list):
        return before + turns(answer)
    return [*before, Message("assistant", text(answer, fields[1]))]


def turns(value: object) -> list[Message]:
    """Return the messages of a list (or of its JSON text, as CSV files hold it)."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise RejectedRow("wrong-type", f"the messages are no valid JSON ({error})") from None
    if not isinstance(value, list) or not value:
        detail = f"expected a list of messages, found {shorten(value)}"
        raise RejectedRow("wrong-type", detail)
    return [_turn(item) for item in value]


def text(value: object, field: str) -> str:
    """Return a field's text; null counts as blank.

    Raises:
        RejectedRow: it is something else than text.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        detail = f"{field!r} is {shorten(value)}, not text; quote it, or use `mapping`"
        raise RejectedRow("wrong-type", detail)
    return value


def _turn(item: object) -> Message:
    if not isinstance(item, dict):
        raise RejectedRow("wrong-type", f"a message is {shorten(item)}, not an object")
    for role_field, content_field in (("role", "content"), ("from", "value")):
        if role_field in item:
            role = standard_role(item[role_field])
            if content_field not in item:
                raise _missing((content_field,), item, "a message has no")
            return Message(role, _content(item[content_field], item))
    raise _missing(("role",), item, "a message has no")


def _content(value: object, turn: Mapping[str, Any]) -> str:
    """Return a turn's text; a list of text parts is joined."""
    if value is None and turn.get("tool_calls"):
        detail = "a turn is a tool call without text; render it as text, or remove the row"
        raise RejectedRow("unsupported-content", detail)
    if not isinstance(value, list):
        return text(value, "content")
    parts = []
    for part in value:
        if isinstance(part, str):
            parts.append(part)
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            parts.append(part["text"])
        else:
            kind = part.get("type") if isinstance(part, dict) else part
            detail = f"a part of a turn is {shorten(kind, 30)}, only text can be used"
            raise RejectedRow("unsupported-content", detail)
    return "".join(parts)


def _instruction(instruction: object, row: Mapping[str, Any]) -> str:
    """Return instruction and input as one prompt, a blank line between them."""
    asked = text(instruction, "instruction")
    for field in ("input", "context"):
        given = text(row.get(field), field)
        if given.strip():
            return f"{asked}\n\n{given}" if asked.strip() else given
    return asked


def _with_system(messages: list[Message], system: object) -> list[Message]:
    """Put a row's `system` field first; null and blank mean that there is none."""
    said = text(system, "system")
    if not said.strip() or messages[0].role == "system":
        return messages
    return [Message("system", said), *messages]


def _need(row: Mapping[str, Any], fields: tuple[str, ...]) -> tuple[str, Any]:
    for field in fields:
        if field in row:
            return field, row[field]
    raise _missing(fields, row, "there is no")


def _missing(fields: tuple[str, ...], row: Mapping[str, Any], what: str) -> RejectedRow:
    names = " or ".join(map(repr, fields))
    return RejectedRow(
        "missing-field", f"{what} {names} (fields: {_names(row)}); add it or set a `mapping`"
    )


def _names(row: Mapping[str, Any]) -> str:
    return shorten(", ".join(map(str, row)), 80).strip("'")
