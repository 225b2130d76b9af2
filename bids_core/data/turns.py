"""The turns of a conversation, converted from the spellings in files to `Message`.

| what | spelled |
| --- | --- |
| who | `role` or `from` |
| text | `content` or `value`: text, or a list of parts (`text`, `input_text`, `output_text`, with \
`text`, `value` or `content`); `refusal` |
| reasoning | `reasoning_content`, `reasoning`, `thinking`; parts of type thinking or reasoning |
| tools | `tool_calls`, `function_call`; parts of type tool_call; `tool_call_id`, `name` |
| what is learned | `weight`, `train`, `training`, `loss_weight`: a number or a boolean |

Other fields stay with the turn and are passed to the chat template, as in transformers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from bids_core.data.conversation import standard_role
from bids_core.data.rejects import RejectedRow, shorten
from bids_core.data.tools import read_call_text, read_calls
from bids_core.records import Message, ToolCall

ROLE_FIELDS: Final = ("role", "from")
CONTENT_FIELDS: Final = ("content", "value")
REASONING_FIELDS: Final = ("reasoning_content", "reasoning", "thinking")
WEIGHT_FIELDS: Final = ("weight", "train", "training", "loss_weight")
_CALL_FIELDS: Final = ("tool_calls", "function_call")
_DETAIL_FIELDS: Final = ("train_detail", "training_detail", "reasoning_train_detail")
_KNOWN: Final = frozenset(
    (*ROLE_FIELDS, *CONTENT_FIELDS, *REASONING_FIELDS, *WEIGHT_FIELDS, *_CALL_FIELDS,
     *_DETAIL_FIELDS, "name", "tool_call_id", "refusal")
)  # fmt: skip
_THOUGHTS: Final = ("thinking", "reasoning")
_CALLS: Final = ("tool_call", "function_call")


def read_turns(value: object, notes: set[str] | None = None) -> list[Message]:
    """Return the messages in a list (or in its JSON text, as in CSV files).

    Args:
        value: the list; a single turn counts as a list of one.
        notes: codes of `bids_core.data.notes` are added to it.

    Raises:
        RejectedRow: it is not such a list, or a turn cannot be read.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise RejectedRow("wrong-type", f"the messages are not valid JSON ({error})") from None
    value = [value] if isinstance(value, dict) else value
    if value == []:
        raise RejectedRow(
            "wrong-type", "the list of messages is empty; add turns or remove the row"
        )
    if not isinstance(value, list):
        detail = f"expected a list of messages, found {shorten(value)}"
        raise RejectedRow("wrong-type", detail)
    return [_turn(item, notes if notes is not None else set()) for item in value]


def text(value: object, field: str) -> str:
    """Return a field's text; null counts as empty.

    Raises:
        RejectedRow: it is something other than text.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        detail = f"{field!r} is {shorten(value)}, not text; quote it, or use `mapping`"
        raise RejectedRow("wrong-type", detail)
    return value


def first_field(row: Mapping[str, Any], fields: tuple[str, ...]) -> str | None:
    """Return the first of these fields that is present and not null."""
    return next((field for field in fields if row.get(field) is not None), None)


def missing(fields: tuple[str, ...], row: Mapping[str, Any], what: str) -> RejectedRow:
    """Return the reject for a row that lacks a field."""
    names = " or ".join(map(repr, fields))
    return RejectedRow(
        "missing-field", f"{what} {names} (fields: {field_names(row)}); add it or set a `mapping`"
    )


def field_names(row: Mapping[str, Any]) -> str:
    """Return a row's field names, for messages."""
    return shorten(", ".join(map(str, row)), 80).strip("'")


def _turn(item: object, notes: set[str]) -> Message:
    if not isinstance(item, dict):
        raise RejectedRow("wrong-type", f"a message is {shorten(item)}, not an object")
    role_field = first_field(item, ROLE_FIELDS) or next((f for f in ROLE_FIELDS if f in item), None)
    if role_field is None:
        raise missing(("role",), item, "a message has no")
    content, thoughts, calls = _said(item)
    if isinstance(item[role_field], str) and item[role_field].strip().lower() == "function_call":
        thought, calls = read_call_text(content)
        role, content, thoughts = "assistant", "", [*thoughts, thought]
    else:
        role = standard_role(item[role_field])
    return Message(
        role,
        content,
        reasoning="\n".join(thought for thought in thoughts if thought.strip()),
        tool_calls=calls,
        name=_optional_text(item, "name"),
        tool_call_id=_optional_text(item, "tool_call_id"),
        weight=_weight(item, role, notes),
        other=_other(item),
    )


def _said(item: Mapping[str, Any]) -> tuple[str, list[str], tuple[ToolCall, ...]]:
    """Return the content, thoughts and tool calls of a turn."""
    calls = [call for field in _CALL_FIELDS for call in read_calls(item.get(field))]
    thoughts = [_thought(item[f], f) for f in REASONING_FIELDS if item.get(f) is not None][:1]
    refusal = text(item.get("refusal"), "refusal")
    field = first_field(item, CONTENT_FIELDS)
    if field is None:
        if not (calls or refusal or any(f in item for f in CONTENT_FIELDS)):
            preferred = ("value",) if "from" in item else ("content",)
            raise missing(preferred, item, "a message has no")
        return refusal, thoughts, tuple(calls)
    content = item[field]
    if isinstance(content, list):
        content, more, inside = _parts(content)
        thoughts, calls = [*thoughts, *more], [*calls, *inside]
    elif isinstance(content, dict) and isinstance(content.get("type"), str):
        content, more, inside = _parts([content])
        thoughts, calls = [*thoughts, *more], [*calls, *inside]
    return text(content, "content") or refusal, thoughts, tuple(calls)


def _parts(parts: list[Any]) -> tuple[str, list[str], list[ToolCall]]:
    """Return the joined text of a list of parts, and the thoughts and tool calls among them."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type") if isinstance(part, dict) else None
        keys = ("text", "value", "content", "refusal")
        field = first_field(part, (*keys, str(kind), "summary")) if isinstance(part, dict) else None
        if isinstance(part, dict) and field is not None:
            _refuse_part_weight(part)
            if kind in _THOUGHTS:
                thoughts.append(_thought(part[field], str(kind)))
                continue
            if kind in _CALLS:
                calls.extend(read_calls(part[field]))
                continue
            if isinstance(part[field], str) and _is_text(kind):
                texts.append(part[field])
                continue
        shown = part if kind is None else kind
        detail = f"a part of a turn is {shorten(shown, 30)}, but only text is supported"
        raise RejectedRow("unsupported-content", detail)
    return "".join(texts), thoughts, calls


def _is_text(kind: object) -> bool:
    return kind in (None, "text", "input_text", "output_text", "refusal")


def _thought(value: object, field: str) -> str:
    if isinstance(value, list):
        content, more, _ = _parts(value)
        return "\n".join([*([content] if content else []), *more])
    return text(value, field)


def _weight(item: Mapping[str, Any], role: str, notes: set[str]) -> float:
    """Return the weight of a turn's tokens; a mark on a turn of another role is noted."""
    if any(item.get(field) for field in _DETAIL_FIELDS):
        detail = (
            "a turn is marked for learning in parts (train_detail); only whole turns can be learned"
        )
        raise RejectedRow("unsupported-weights", detail)
    given = [(field, item[field]) for field in WEIGHT_FIELDS if item.get(field) is not None]
    weight = math.prod(_number(value, field) for field, value in given)
    if role == "assistant":
        return float(weight)
    if given and weight > 0:
        notes.add("other-role-not-learned")
    return 1.0


def _refuse_part_weight(part: Mapping[str, Any]) -> None:
    for field in WEIGHT_FIELDS:
        if part.get(field) is not None and _number(part[field], field) != 1.0:
            detail = f"a part of a turn has {field} {part[field]!r}; only whole turns can be masked"
            raise RejectedRow("unsupported-weights", detail)


def _number(value: object, field: str) -> float:
    if not isinstance(value, bool | int | float) or not 0 <= value < math.inf:
        detail = (
            f"{field!r} of a turn is {shorten(value)}; give true, false, or a number of at least 0"
        )
        raise RejectedRow("wrong-type", detail)
    return float(value)


def _optional_text(item: Mapping[str, Any], field: str) -> str | None:
    value = item.get(field)
    return None if value is None or value == "" else str(value)


def _other(item: Mapping[str, Any]) -> str:
    rest = {k: v for k, v in item.items() if k not in _KNOWN and v is not None}
    return json.dumps(rest, ensure_ascii=False, default=str) if rest else ""
