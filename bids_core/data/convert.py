"""From a row's fields to an `Example`: mapping or format, suffix, checks, row id."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bids_core.data.conversation import check_conversation, check_text, strip_completions
from bids_core.data.formats import pair, text, to_messages, turns
from bids_core.data.mapping import Getter, as_list, compile_mapping
from bids_core.data.rejects import RejectedRow, shorten
from bids_core.errors import ConfigError
from bids_core.records import Example, Message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bids_core.data.reading import RawRow
    from bids_core.data.sources import Source


@dataclass(frozen=True, slots=True)
class Converter:
    """Makes the rows of one source into examples.

    Args:
        source: the source.
        getters: its mapping, compiled.
    """

    source: Source
    getters: dict[str, Getter]

    @property
    def prompt_only(self) -> bool:
        """The mapping names a prompt and no completion: test rows that a checker judges."""
        return "prompt" in self.getters and "completion" not in self.getters

    def convert(self, raw: RawRow) -> Example:
        """Return the example that a row holds.

        The row id is the one of the data (`mapping.id`, or a field `id`), else
        `<source>:<line>`, else, in a source of several files, `<source>:<file>:<line>`.

        Raises:
            RejectedRow: the row can not be used.
        """
        row = raw.parse()
        fields = {"_file": raw.file.stem, "_line": raw.number, **row}
        messages = strip_completions(self._messages(fields, row), self.source.config.strip_suffix)
        messages, choices = self._choices(fields, messages)
        check_conversation(messages, prompt_only=self.prompt_only)
        return Example(
            row_id=self._row_id(fields, row) or f"{self.source.name}:{raw.label}",
            source=self.source.name,
            messages=tuple(messages),
            location=raw.location,
            task=self.source.task,
            capability=self.source.capability,
            subtask=self._optional("subtask", fields),
            choices=choices,
            fields=_as_json(row) if self.source.split == "test" else None,
        )

    def _messages(self, fields: Mapping[str, Any], row: Mapping[str, Any]) -> list[Message]:
        if "messages" in self.getters:
            messages = turns(self.getters["messages"](fields))
        elif "prompt" in self.getters:
            messages = self._mapped_pair(fields)
        else:
            messages = to_messages(row, self.source.config.format)
        system = self._optional("system", fields)
        if system is None or messages[0].role == "system":
            return messages
        return [Message("system", system), *messages]

    def _mapped_pair(self, fields: Mapping[str, Any]) -> list[Message]:
        ask = _plain(self.getters["prompt"](fields))
        if not self.prompt_only:
            answer = _plain(self.getters["completion"](fields))
            return pair(ask, answer, fields=("prompt", "completion"))
        return turns(ask) if isinstance(ask, list) else [Message("user", text(ask, "prompt"))]

    def _choices(
        self, fields: Mapping[str, Any], messages: list[Message]
    ) -> tuple[list[Message], tuple[str, ...] | None]:
        """Return the row's choices, and its messages with the answer spelled as its choice is."""
        if "choices" not in self.getters:
            return messages, None
        choices = tuple(
            text(_plain(choice), "choices").strip()
            for choice in as_list(self.getters["choices"](fields))
        )
        for choice in choices:
            check_text(choice)
        answer = messages[-1].content.strip()
        if len(set(choices)) < 2 or not all(choices):
            detail = f"the choices are {shorten(choices)}; give at least two different texts"
            raise RejectedRow("bad-choices", detail)
        if not self.source.multiple_choice:
            return messages, choices
        if answer not in choices:
            detail = f"the answer {shorten(answer, 30)} is not among the choices {shorten(choices)}"
            raise RejectedRow("bad-choices", f"{detail}; map `completion` to the choice's text")
        return [*messages[:-1], Message(messages[-1].role, answer)], choices

    def _row_id(self, fields: Mapping[str, Any], row: Mapping[str, Any]) -> str | None:
        value = self.getters["id"](fields) if "id" in self.getters else row.get("id")
        if isinstance(value, bool) or not isinstance(value, str | int):
            if "id" in self.getters:
                raise RejectedRow("wrong-type", f"the mapping's id is {shorten(value)}, not text")
            return None
        check_text(str(value))
        if not str(value).strip() and "id" in self.getters:
            raise RejectedRow("missing-field", "the mapping's id is blank")
        return str(value).strip() or None

    def _optional(self, key: str, fields: Mapping[str, Any]) -> str | None:
        """Return a mapped text, None where the row does not have it."""
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


def make_converter(source: Source) -> Converter:
    """Return the converter of a source.

    Raises:
        ConfigError: the mapping does not fit the source.
    """
    getters = compile_mapping(source.config.mapping, where=source.where)
    converter = Converter(source, getters)
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


def _as_json(row: Mapping[str, Any]) -> str:
    """Return a row as JSON; what JSON has no word for (a date of a Parquet file) as text."""
    return json.dumps(row, ensure_ascii=False, default=str)


def _plain(value: object) -> object:
    """Spell a mapped number as text: whoever maps a field by name wants its value."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value
