"""Rows as other tools load them: one record per row, with extra columns next to the conversation.

In JSONL every value keeps its type. Tables (Parquet, `datasets`) need one type per column: columns
of only texts, numbers or booleans stay, all others become JSON text. A tool call's arguments are
always JSON text, as in OpenAI's format.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

OWN: Final = ("messages", "tools", "row_id", "source", "rank")
"""Names that a record uses itself; a data column with such a name gets the prefix `data_`."""
_BREAKS: Final = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def record(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the conversation, tools and extra columns of a row of `PreparedData`.

    Args:
        stored: the row: `messages`, `tools`, `extra` (JSON texts or None).
    """
    return {
        "messages": json.loads(stored["messages"]),
        **({"tools": json.loads(stored["tools"])} if stored.get("tools") else {}),
        **extra_columns(stored.get("extra")),
    }


def extra_columns(extra: str | None) -> dict[str, Any]:
    """Return a row's extra columns, renamed where a record uses the name itself."""
    columns = json.loads(extra) if extra else {}
    return {f"data_{name}" if name in OWN else name: value for name, value in columns.items()}


def json_line(row: Mapping[str, Any]) -> str:
    """Return a row as one line of JSON.

    Characters other than the line feed that many readers treat as line breaks are escaped.
    """
    return json.dumps(row, ensure_ascii=False).translate(_BREAKS)


def as_table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with identical columns, each of one type.

    All turns get the same fields, null where missing, because Arrow has one struct type for all.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    as_text = {name for name in names if name != "messages" and not _is_plain(rows, name)}
    fields = list(dict.fromkeys(f for row in rows for turn in row["messages"] for f in turn))
    odd = {f for f in fields if f not in _TURN_TYPES}
    return [
        {
            name: [_turn(turn, fields, odd) for turn in row["messages"]]
            if name == "messages"
            else _cell(row.get(name), as_text=name in as_text)
            for name in names
        }
        for row in rows
    ]


_TURN_TYPES: Final = (
    "role", "content", "reasoning_content", "tool_calls", "name", "tool_call_id", "weight",
)  # fmt: skip


def _turn(turn: Mapping[str, Any], fields: Iterable[str], odd: set[str]) -> dict[str, Any]:
    return {name: _cell(turn.get(name), as_text=name in odd) for name in fields}


def _cell(value: Any, *, as_text: bool) -> Any:
    if value is None or not as_text or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _is_plain(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Return whether a column is all texts, all booleans or all numbers that fit into 64 bits."""
    kinds = {_kind(row[name]) for row in rows if row.get(name) is not None}
    return kinds in ({"text"}, {"truth"}, {"whole"}, {"number"}, {"whole", "number"}, set())


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int):
        return "whole" if abs(value) < 2**53 else "other"
    return "number" if isinstance(value, float) else "text" if isinstance(value, str) else "other"
