"""Tools and tool calls, converted from the spellings in files to one.

OpenAI: `tools` is a list of `{"type": "function", "function": {name, description, parameters}}`,
`tool_calls` a list of `{"id", "type", "function": {"name", "arguments": JSON text}}`; in older
files `functions` and `function_call`. ShareGPT (LLaMA-Factory): `tools` is JSON text of
`[{name, description, parameters}]`, and a turn of role `function_call` is JSON text of `{"name",
"arguments"}` or a list of them, optionally preceded by a `<think>` block.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from bids_core.data.rejects import RejectedRow, shorten
from bids_core.records import ToolCall

_THOUGHT: Final = re.compile(r"\A\s*<think>(.*?)</think>", re.DOTALL)


def read_tools(value: object) -> list[dict[str, Any]] | None:
    """Return tool schemas in OpenAI's format; None if there are none.

    Raises:
        RejectedRow: the value is not a list of schemas with names.
    """
    found = _parsed(value, "tools")
    if not found:
        return None
    schemas = [_schema(item) for item in (found if isinstance(found, list) else [found])]
    if None in schemas:
        detail = f"'tools' is {shorten(value)}, not a list of tools with names; fix or rename it"
        raise RejectedRow("bad-tools", detail)
    return [schema for schema in schemas if schema is not None]


def read_calls(value: object) -> tuple[ToolCall, ...]:
    """Return the tool calls of a turn.

    Raises:
        RejectedRow: one has no name, or its arguments are not a JSON object.
    """
    found = _parsed(value, "tool_calls")
    if not found:
        return ()
    return tuple(_call(item) for item in (found if isinstance(found, list) else [found]))


def read_call_text(text: str) -> tuple[str, tuple[ToolCall, ...]]:
    """Return the reasoning and the tool calls of a `function_call` turn.

    Raises:
        RejectedRow: the text is not JSON of tool calls.
    """
    thought = _THOUGHT.match(text)
    calls = read_calls(text[thought.end() :] if thought else text)
    if not calls:
        raise RejectedRow("bad-tools", "a function_call turn is blank; add the call")
    return (thought[1].strip() if thought else ""), calls


def call_dict(call: ToolCall, *, parsed: bool) -> dict[str, Any]:
    """Return a call in OpenAI's format; `parsed`: with arguments as an object, for templates."""
    arguments: Any = json.loads(call.arguments) if parsed else call.arguments
    named = {"id": call.id} if call.id is not None else {}
    return named | {"type": "function", "function": {"name": call.name, "arguments": arguments}}


def _parsed(value: object, field: str) -> Any:
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        detail = f"{field!r} is not valid JSON ({error}) in {shorten(value)}"
        raise RejectedRow("bad-tools", detail) from None


def _schema(item: object) -> dict[str, Any] | None:
    if isinstance(item, str) and item.lstrip().startswith("{"):
        item = _parsed(item, "tools")
    if not isinstance(item, dict):
        return None
    inner = item.get("function")
    schema = inner if isinstance(inner, dict) else item
    if not isinstance(schema.get("name"), str) or not schema["name"].strip():
        return None
    parameters = schema.get("parameters")
    if isinstance(parameters, str):
        schema = schema | {"parameters": _parsed(parameters, "parameters")}
    rest = {k: v for k, v in item.items() if k not in ("type", "function")} if inner else {}
    return {"type": "function", "function": schema, **rest}


def _call(item: object) -> ToolCall:
    if isinstance(item, str):
        item = _parsed(item, "tool_calls")
    inner = item.get("function", item) if isinstance(item, dict) else None
    if isinstance(inner, str) and isinstance(item, dict):  # {"function": "name", "arguments": ...}
        inner = {"name": inner, "arguments": item.get("arguments")}
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not inner["name"]:
        detail = f"a tool call has no name: {shorten(item)}; fix or remove the row"
        raise RejectedRow("bad-tools", detail)
    arguments = inner.get("arguments", inner.get("parameters"))
    called = item.get("id") if isinstance(item, dict) else None
    return ToolCall(inner["name"], _arguments(arguments), None if called is None else str(called))


def _arguments(value: object) -> str:
    """Return arguments as JSON text of an object; valid JSON text stays as it is."""
    if value is None or value == "":
        return "{}"
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, str) and isinstance(_parsed(value, "arguments"), dict):
        return value
    detail = f"the arguments of a tool call are {shorten(value)}, not a JSON object"
    raise RejectedRow("bad-tools", detail)
