"""The layout of a source's rows, as described by another tool's file.

A `Layout` renames columns and turn fields to the names that the formats look for; everything else
stays. `llamafactory.py` and `axolotl.py` read such descriptions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bids_core.data.turns import WEIGHT_FIELDS

TURN_LISTS: Final = (
    "messages", "conversations", "conversation", "prompt", "completion", "chosen", "rejected",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Layout:
    """Renames columns, the fields of turns, and roles.

    Args:
        columns: name that a format looks for -> name in the rows.
        turn_fields: name that the turn reader looks for -> name in the turns.
        roles: role as spelled in the turns -> standard role.
        system: a system turn for rows without one.
        hidden: columns not in the description, which no format may read.
        drop_system: drop system turns.
        marked_only: learn only answers that are marked.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    turn_fields: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    system: str | None = None
    hidden: tuple[str, ...] = ()
    drop_system: bool = False
    marked_only: bool = False

    def __post_init__(self) -> None:
        """Raise for names that are not text, as a damaged description may have them.

        Raises:
            TypeError: a name is not text.
        """
        for names in (self.columns, self.turn_fields, self.roles):
            for here, there in names.items():
                if not (isinstance(here, str) and isinstance(there, str)):
                    msg = f"{here!r}: {there!r} should be two names"
                    raise TypeError(msg)

    def apply(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the row with the standard names."""
        taken = {there: name for name, there in self.columns.items()}
        renamed: dict[str, Any] = {}
        for name, value in row.items():
            if name in taken:
                renamed[taken[name]] = value
            elif name in self.columns or name in self.hidden:
                renamed.setdefault(f"_{name}", value)  # it has another meaning here
            else:
                renamed.setdefault(name, value)
        if self.system is not None and not renamed.get("system"):
            renamed["system"] = self.system
        if not (self.turn_fields or self.roles or self.drop_system or self.marked_only):
            return renamed
        return {
            name: self._turns(value) if name in TURN_LISTS else value
            for name, value in renamed.items()
        }

    def _turns(self, value: Any) -> Any:
        if isinstance(value, str) and value.lstrip().startswith("[{"):
            try:
                value = json.loads(value)
            except ValueError:
                return value  # the turn reader reports what is wrong
        if isinstance(value, dict):
            return self._turn(value)
        if not isinstance(value, list):
            return value
        turns = [self._turn(item) if isinstance(item, dict) else item for item in value]
        return [turn for turn in turns if not (self.drop_system and _role(turn) == "system")]

    def _turn(self, turn: Mapping[str, Any]) -> dict[str, Any]:
        taken = {there: name for name, there in self.turn_fields.items()}
        renamed = {
            taken.get(name, name): value
            for name, value in turn.items()
            if name in taken or name not in self.turn_fields
        }
        for name in ("role", "from"):
            if isinstance(renamed.get(name), str):
                renamed[name] = self.roles.get(renamed[name], renamed[name])
        marked = any(renamed.get(name) is not None for name in WEIGHT_FIELDS)
        if self.marked_only and not marked and _role(renamed) == "assistant":
            renamed["train"] = False
        return renamed


def _role(turn: Any) -> Any:
    return (turn.get("role") or turn.get("from")) if isinstance(turn, dict) else None
