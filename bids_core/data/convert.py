"""From a row's fields to an `Example`: mapping or format, suffix, checks, row id."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bids_core.data.conversation import (
    check_conversation,
    check_text,
    join_turns,
    merge_system,
    strip_completions,
)  # fmt: skip
from bids_core.data.formats import (
    Conversation,
    add_tools,
    pair,
    read_row,
    refuse_media_marks,
)  # fmt: skip
from bids_core.data.layout import Layout
from bids_core.data.mapping import Getter, as_list, compile_mapping, plain_fields
from bids_core.data.rejects import RejectedRow, shorten
from bids_core.data.templates import STEPS
from bids_core.data.tools import read_tools
from bids_core.data.turns import read_turns, text
from bids_core.errors import ConfigError
from bids_core.records import Example, Message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bids_core.data.reading import RawRow
    from bids_core.data.sources import Source


@dataclass(frozen=True, slots=True)
class Converter:
    """Converts the rows of one source to examples.

    Args:
        source: the source.
        getters: its mapping, compiled.
        merge: prepend system turns to the next user turn (`data.system: merge`).
        join: join consecutive turns of one speaker (`data.join_turns`).
    """

    source: Source
    getters: dict[str, Getter]
    merge: bool = False
    join: bool = False

    @property
    def prompt_only(self) -> bool:
        """Whether the mapping has a prompt but no completion: test rows without a reference."""
        return "prompt" in self.getters and "completion" not in self.getters

    @property
    def by_mapping(self) -> bool:
        """Whether the mapping says where the turns are."""
        return "messages" in self.getters or "prompt" in self.getters

    def convert(self, raw: RawRow) -> Example:
        """Return the example that a row holds.

        The row id is the data's own (`mapping.id`, or a field `id`), or else `<source>:<line>`
        (`<source>:<file>:<line>` in a source of several files).

        Raises:
            RejectedRow: the row cannot be used.
        """
        row = raw.parse()
        if self.source.layout is not None:
            row = self.source.layout.apply(row)
        fields = {"_file": raw.file.stem, "_line": raw.number, **row}
        found = self._read(fields, row)
        messages, choices = self._choices(fields, self._shaped(found.messages))
        check_conversation(messages, prompt_only=self.prompt_only)
        refuse_media_marks(messages)
        self._check_tools(found)
        self._refuse_masked(messages)
        row_id = self._row_id(fields, row, found)
        return Example(
            row_id=row_id or f"{self.source.name}:{raw.label}",
            source=self.source.name,
            messages=tuple(messages),
            location=raw.location,
            task=self.source.task,
            capability=self.source.capability,
            subtask=self._optional("subtask", fields),
            choices=choices,
            fields=_as_json(row) if self.source.split == "test" else None,
            tools=None if found.tools is None else _as_json(found.tools),
            extra=self._extra(row, found),
            notes=tuple(sorted(found.notes)),
            form=found.form,
        )

    def has_own_id(self, example: Example, raw: RawRow) -> bool:
        """Return whether a row's id comes from the data, not from its position."""
        return example.row_id != f"{self.source.name}:{raw.label}"

    def _read(self, fields: Mapping[str, Any], row: Mapping[str, Any]) -> Conversation:
        if not self.by_mapping:
            found = read_row(self._weighted(row), self.source.config.format)
        else:
            found = self._mapped(fields, row)
        system = self._optional("system", fields)
        if system is not None and found.messages[0].role != "system":
            found.messages.insert(0, Message("system", system))
        if "tools" in self.getters:
            found.tools = read_tools(self._tools_value(fields))
        return found

    def _mapped(self, fields: Mapping[str, Any], row: Mapping[str, Any]) -> Conversation:
        """Return what the mapping takes from the row, and its tools next to mapped turns."""
        notes: set[str] = set()
        used = plain_fields(self.source.config.mapping)
        if "messages" in self.getters:
            turns = self._weighted({"messages": self.getters["messages"](fields)})["messages"]
            found = Conversation(read_turns(turns, notes), None, used, notes)
            if "tools" not in self.getters:
                add_tools(found, row)
            return found
        return Conversation(self._mapped_pair(fields, notes), None, used, notes)

    def _mapped_pair(self, fields: Mapping[str, Any], notes: set[str]) -> list[Message]:
        ask = _plain(self.getters["prompt"](fields))
        if not self.prompt_only:
            answer = _plain(self.getters["completion"](fields))
            return pair(ask, answer, fields=("prompt", "completion"), notes=notes)
        if isinstance(ask, list):
            return read_turns(ask, notes)
        return [Message("user", text(ask, "prompt"))]

    def _weighted(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Rename the turn field that `mapping.weight` names to its standard name."""
        name = self.source.config.mapping.get("weight")
        return row if name is None else Layout(turn_fields={"weight": name}).apply(row)

    def _tools_value(self, fields: Mapping[str, Any]) -> object:
        try:
            return self.getters["tools"](fields)
        except RejectedRow as problem:
            if problem.reason == "missing-field":
                return None
            raise

    def _shaped(self, messages: list[Message]) -> list[Message]:
        shaped = strip_completions(messages, self.source.config.strip_suffix)
        shaped = merge_system(shaped) if self.merge else shaped
        return join_turns(shaped) if self.join else shaped

    def _check_tools(self, found: Conversation) -> None:
        for tool in found.tools or ():
            check_text(_as_json(tool))

    def _refuse_masked(self, messages: list[Message]) -> None:
        """Reject a test row whose last answer has weight 0: there would be nothing to answer."""
        last = messages[-1]
        if self.source.split == "test" and last.role == "assistant" and not last.weight:
            detail = "the last answer has weight 0, and a test row asks for it; remove the weight"
            raise RejectedRow("nothing-to-learn", detail)

    def _extra(self, row: Mapping[str, Any], found: Conversation) -> str | None:
        """Return the row's unused columns as JSON."""
        rest = {k: v for k, v in row.items() if k not in found.used and v is not None}
        return _as_json(rest) if rest else None

    def _choices(
        self, fields: Mapping[str, Any], messages: list[Message]
    ) -> tuple[list[Message], tuple[str, ...] | None]:
        """Return the messages, with the answer spelled like its choice, and the choices."""
        if "choices" not in self.getters:
            return messages, None
        choices = tuple(
            text(_plain(choice), "choices").strip()
            for choice in as_list(self.getters["choices"](fields))
        )
        for choice in choices:
            check_text(choice)
        answer = messages[-1].content.strip() if messages else ""
        if len(set(choices)) < 2 or not all(choices):
            detail = f"the choices are {shorten(choices)}; give at least two different texts"
            raise RejectedRow("bad-choices", detail)
        if not self.source.multiple_choice:
            return messages, choices
        if answer not in choices:
            detail = f"the answer {shorten(answer, 30)} is not among the choices {shorten(choices)}"
            raise RejectedRow("bad-choices", f"{detail}; map `completion` to the choice's text")
        return [*messages[:-1], replace(messages[-1], content=answer)], choices

    def _row_id(
        self, fields: Mapping[str, Any], row: Mapping[str, Any], found: Conversation
    ) -> str | None:
        mapped = "id" in self.getters
        value = self.getters["id"](fields) if mapped else row.get("id")
        if isinstance(value, float) and math.isfinite(value):  # pandas: with missing values
            whole = value.is_integer() and abs(value) < 2**53
            value = int(value) if whole else repr(value)
        if isinstance(value, bool) or not isinstance(value, str | int):
            if mapped:
                raise RejectedRow("wrong-type", f"the mapping's id is {shorten(value)}, not text")
            if value is not None and not isinstance(value, float):
                found.notes.add("id-not-used")
            return None
        check_text(str(value))
        if not str(value).strip() and mapped:
            raise RejectedRow("missing-field", "the mapping's id is blank")
        found.used.add("id")
        return str(value).strip() or None

    def _optional(self, key: str, fields: Mapping[str, Any]) -> str | None:
        """Return a mapped text; None if the row lacks it."""
        if key not in self.getters:
            return None
        try:
            value = text(_plain(self.getters[key](fields)), key)
        except RejectedRow as problem:
            if problem.reason == "missing-field":
                return None
            raise
        check_text(value)
        return value if value.strip() else None


def make_converter(
    source: Source, *, merge: bool = False, join: bool = False, steps: int = STEPS
) -> Converter:
    """Return the converter of a source.

    Raises:
        ConfigError: the mapping does not fit the source.
    """
    getters = compile_mapping(source.config.mapping, where=source.where, steps=steps)
    converter = Converter(source, getters, merge, join)
    if converter.prompt_only and source.split != "test":
        msg = (
            f"{source.where}: mapping has `prompt` but no `completion`; add it (only test rows can"
            " do without an answer)"
        )
        raise ConfigError(msg)
    if source.multiple_choice and ("choices" not in getters or converter.prompt_only):
        msg = (
            f"{source.where}: metric multiple_choice needs mapping.choices and an answer; add them"
        )
        raise ConfigError(msg)
    return converter


def _as_json(row: object) -> str:
    """Return a row as JSON; values without a JSON type (dates in Parquet) become text."""
    return json.dumps(row, ensure_ascii=False, default=str)


def _plain(value: object) -> object:
    """Convert a mapped number to text."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value
