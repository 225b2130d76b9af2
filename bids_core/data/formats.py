"""The formats of rows: detected by field names, and converted to conversations.

`FORMATS` is the table: a new format is one more entry, and everything that chooses or lists formats
(the configuration, its form, `bids check`, `bids show`) reads it. docs/data.md describes how each
is read. A null field counts as absent, because merging files fills missing columns with nulls. Each
row is detected separately, so a file may mix formats. All assistant turns of a conversation are
learned, including those in a TRL `prompt` list, unless the row or `data.learn` says otherwise.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from bids_core.data.rejects import RejectedRow, shorten
from bids_core.data.tools import read_tools
from bids_core.data.turns import field_names, first_field, missing, read_turns, text
from bids_core.records import Message
from bids_core.registry import Entry, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Row: TypeAlias = "Mapping[str, Any]"

_MESSAGES: Final = ("messages",)
_SHARED: Final = ("conversations", "conversation")
_CHOSEN: Final = ("chosen", "chosen_messages", "chosen_response", "preferred_output")
_REJECTED: Final = (
    "rejected", "rejected_messages", "rejected_response", "non_preferred_output",
)  # fmt: skip
_LABELS: Final = ("label", "kto_tag")
_MEDIA: Final = ("images", "image", "videos", "video", "audios", "audio")
_MEDIA_MARK: Final = re.compile(r"<(image|video|audio)>")
_TOOLS: Final = ("tools", "functions")
_INPUTS: Final = ("input", "context")


@dataclass(slots=True)
class Conversation:
    """The conversation in a row.

    Args:
        messages: its turns.
        tools: schemas of the tools that the assistant may call; None if there are none.
        used: fields that were read; all others are extra columns.
        notes: codes of `bids_core.data.notes`.
        form: format it was read in; `mapping` if the configuration has a mapping.
    """

    messages: list[Message]
    tools: list[dict[str, Any]] | None = None
    used: set[str] = field(default_factory=set)
    notes: set[str] = field(default_factory=set)
    form: str = "mapping"


@dataclass(frozen=True, kw_only=True)
class Format(Entry):
    """One format of rows; `what` describes its fields.

    Args:
        needs: for each field that a row must have, the names it may have.
        read: converts a row that has them to a conversation.
    """

    needs: tuple[tuple[str, ...], ...]
    read: Callable[[Row], Conversation]

    def fits(self, row: Row) -> bool:
        """Return whether a row has all fields that the format needs."""
        return all(any(name in row for name in names) for names in self.needs)


def detect(row: Row) -> str:
    """Return the format of a row: the first in `FORMATS` whose fields are all present.

    Raises:
        RejectedRow: no format fits; names the field missing for the nearest one.
    """
    filled = {name: value for name, value in row.items() if not _is_absent(value)}
    for candidate in (filled, row):  # for a row of nulls, the error then names what is missing
        for form in FORMATS.values():
            if form.fits(candidate):
                return form.name
    for form in FORMATS.values():
        asks, answers = form.needs[0], form.needs[-1]
        for one, other in ((asks, answers), (answers, asks)):
            present = [name for name in one if name in row]
            if present and one is not other:
                raise missing(other, row, f"{present[0]!r} is present, but not")
    raise RejectedRow(
        "missing-field", f"no known format has the fields {field_names(row)}; set a `mapping`"
    )


def read_row(row: Row, form: str = "auto") -> Conversation:
    """Return the conversation that a row holds, with its tools.

    Args:
        row: its fields.
        form: a name of `FORMATS`, or `auto`.

    Raises:
        RejectedRow: a field is missing or of the wrong type, the row is not text, or its feedback
            says that the answer is bad.
    """
    chosen = FORMATS[detect(row) if form == "auto" else form]
    refuse_media(row)
    _refuse_bad_feedback(row)
    found = chosen.read(row)
    found.form = chosen.name
    add_tools(found, row)
    return found


def to_messages(row: Row, form: str) -> list[Message]:
    """Return the turns that a row holds; see `read_row`."""
    return read_row(row, form).messages


def pair(
    ask: object, answer: object, *, fields: tuple[str, str], notes: set[str] | None = None
) -> list[Message]:
    """Return the conversation of a prompt and a completion, texts or lists of messages."""
    return _asked(ask, fields[0], notes) + _answered(answer, fields[1], notes)


def add_tools(found: Conversation, row: Row) -> None:
    """Add the row's tools, unless its system turn already lists them (which a note says)."""
    name = first_field(row, _TOOLS)
    tools = read_tools(row[name]) if name is not None else None
    if tools is None or name is None:
        return
    found.used.add(name)
    if any("<tools>" in m.content for m in found.messages if m.role == "system"):
        found.notes.add("tools-in-system")
        return
    found.tools = tools


def refuse_media(row: Row) -> None:
    """Raise for a row with images, audio or video: only text is supported.

    Raises:
        RejectedRow: names the column.
    """
    for name in _MEDIA:
        if not _is_absent(row.get(name)):
            detail = (
                f"the row has {name!r} ({shorten(row[name], 30)}), but only text is "
                "supported; remove the row, or name its text columns in `mapping`"
            )
            raise RejectedRow("unsupported-content", detail)


def refuse_media_marks(messages: Sequence[Message]) -> None:
    """Raise for a user turn with a placeholder for an image, audio or video (`<image>`).

    One with a closing tag (`</video>`) is XML or HTML, which is text.

    Raises:
        RejectedRow: names the placeholder.
    """
    for message in messages:
        for mark in _MEDIA_MARK.finditer(message.content) if message.role == "user" else ():
            if f"</{mark[1]}>" not in message.content:
                detail = f"a user turn has the marker {mark[0]}, but only text is supported"
                raise RejectedRow("unsupported-content", f"{detail}; remove the row")


def _refuse_bad_feedback(row: Row) -> None:
    for name in _LABELS:
        value = row.get(name)
        if value is False or (isinstance(value, str) and value.strip().lower() == "false"):
            detail = (
                f"{name} is false, which marks a bad answer; remove the row, or name its "
                "columns in `mapping` if the field means something else"
            )
            raise RejectedRow("negative-feedback", detail)


def _is_absent(value: object) -> bool:
    """Return whether a field counts as absent: null, NaN, or an empty list or text."""
    if isinstance(value, float) and math.isnan(value):
        return True
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def _need(row: Row, fields: tuple[str, ...]) -> str:
    """Return the name of the first field present in the row, preferring one with a value."""
    filled = next((name for name in fields if not _is_absent(row.get(name))), None)
    name = filled or next((name for name in fields if name in row), None)
    if name is None:
        raise missing(fields, row, "there is no")
    return name


def _read_list(row: Row, fields: tuple[str, ...]) -> Conversation:
    name, notes = _need(row, fields), set[str]()
    return _with_system(Conversation(read_turns(row[name], notes), None, {name}, notes), row)


def _read_pair(row: Row, asks: tuple[str, ...], answers: tuple[str, ...]) -> Conversation:
    ask, answer, notes = _need(row, asks), _need(row, answers), set[str]()
    messages = pair(row[ask], row[answer], fields=(ask, answer), notes=notes)
    return _with_system(Conversation(messages, None, {ask, answer}, notes), row)


def _read_alpaca(row: Row) -> Conversation:
    ask, answer = _need(row, ("instruction",)), _need(row, ("output", "response"))
    given, notes = _given(row), set[str]()
    blank = {name for name in _INPUTS if _is_absent(row.get(name))}
    used = {ask, answer, "history"} | blank | ({given} if given else set())
    asked = _instruction(row[ask], row, given)
    messages = _history(row.get("history")) + pair(asked, row[answer], fields=(ask, answer))
    return _with_system(Conversation(messages, None, used, notes), row)


def _read_preference(row: Row) -> Conversation:
    """Return the chosen side; the rejected one stays an extra column."""
    chosen, notes = _need(row, _CHOSEN), {"chosen-side"}
    used = {chosen}
    answer = row[chosen]
    is_text = isinstance(answer, str) and not answer.lstrip().startswith("[{")
    after = [Message("assistant", answer)] if is_text else read_turns(answer, notes)
    before, name = _preference_prompt(row, notes)
    if name is not None:
        used |= {name} | ({"input"} if name == "instruction" else set())
    elif is_text:
        raise missing(("prompt",), row, f"{chosen!r} is text, but there is no")
    if any(message.role == "user" for message in after):  # it repeats or continues the prompt
        system = [m for m in before if m.role == "system" and after[0].role != "system"]
        before = before if _begins_anew(before, after) else system
    found = _with_system(Conversation([*before, *after], None, used, notes), row)
    inside = row.get("input")
    if isinstance(inside, dict):
        add_tools(found, inside)
    return found


def _begins_anew(before: list[Message], after: list[Message]) -> bool:
    """Return whether a chosen side with user turns continues the prompt, not repeats it."""
    said = [(m.role, m.content.strip()) for m in after if m.role != "system"]
    asked = [(m.role, m.content.strip()) for m in before if m.role != "system"]
    return bool(asked) and said[: len(asked)] != asked


def _preference_prompt(row: Row, notes: set[str]) -> tuple[list[Message], str | None]:
    for name in (*_MESSAGES, *_SHARED, "prompt", "instruction", "question", "query", "input"):
        value = row.get(name)
        if _is_absent(value):
            continue
        if name == "instruction":
            return [Message("user", _instruction(value, row, _given(row)))], name
        if name == "input" and isinstance(value, dict):  # OpenAI
            return read_turns(value.get("messages"), notes), name
        return _asked(value, name, notes), name
    return [], None


def _asked(ask: object, name: str, notes: set[str] | None = None) -> list[Message]:
    if isinstance(ask, list) or (isinstance(ask, str) and ask.lstrip().startswith('[{"role"')):
        return read_turns(ask, notes)
    return [Message("user", text(ask, name))]


def _answered(answer: object, name: str, notes: set[str] | None = None) -> list[Message]:
    if isinstance(answer, list) or (isinstance(answer, dict) and ("role" in answer)):
        return read_turns(answer, notes)
    return [Message("assistant", text(answer, name))]


def _given(row: Row) -> str | None:
    return next((name for name in _INPUTS if text(row.get(name), name).strip()), None)


def _instruction(instruction: object, row: Row, given: str | None) -> str:
    """Return instruction and input as one prompt, separated by a blank line."""
    asked = text(instruction, "instruction")
    if given is None:
        return asked
    return f"{asked}\n\n{row[given]}" if asked.strip() else str(row[given])


def _history(value: object) -> list[Message]:
    """Return the turns before the instruction, from a list of question-answer pairs."""
    if _is_absent(value):
        return []
    pairs = value if isinstance(value, list) else []
    if not pairs or not all(isinstance(each, list | tuple) and len(each) == 2 for each in pairs):
        detail = f"'history' is {shorten(value)}, not a list of [question, answer]"
        raise RejectedRow("wrong-type", detail)
    return [
        Message(role, text(said, "history"))
        for each in pairs
        for role, said in zip(("user", "assistant"), each, strict=True)
    ]


def _with_system(found: Conversation, row: Row) -> Conversation:
    """Prepend a row's `system` field, unless it is null or blank."""
    if "system" not in row:
        return found
    said = text(row["system"], "system")
    found.used.add("system")
    if said.strip() and found.messages[0].role != "system":
        found.messages.insert(0, Message("system", said))
    return found


FORMATS: Final[Registry[Format]] = Registry(
    "format",
    (
        Format(
            name="preference",
            what="`chosen` and `rejected` (texts, turns or lists of turns), with `prompt`, "
            "`messages`, `conversations`, `instruction`, `question` or OpenAI's `input`; or "
            "without, as whole conversations",
            needs=(_CHOSEN, _REJECTED),
            read=_read_preference,
        ),
        Format(
            name="messages",
            what="`messages`: list of {role, content}; also `tools`, `system`",
            needs=(_MESSAGES,),
            read=lambda row: _read_list(row, _MESSAGES),
        ),
        Format(
            name="sharegpt",
            what="`conversations`: list of {from, value}; also `tools`, `system`",
            needs=(_SHARED,),
            read=lambda row: _read_list(row, _SHARED),
        ),
        Format(
            name="alpaca",
            what="`instruction`, `input` (or `context`), `output` (or `response`); also `history`, "
            "`system`",
            needs=(("instruction",), ("output", "response")),
            read=_read_alpaca,
        ),
        Format(
            name="prompt_completion",
            what="`prompt`, `completion` (or `response`): texts, or lists of turns; also `system`",
            needs=(("prompt",), ("completion", "response")),
            read=lambda row: _read_pair(row, ("prompt",), ("completion", "response")),
        ),
        Format(
            name="question_answer",
            what="`question` (or `query`), `answer` (or `response`); also `system`",
            needs=(("question", "query"), ("answer", "response")),
            read=lambda row: _read_pair(row, ("question", "query"), ("answer", "response")),
        ),
    ),
    reserved=("auto", "mapping"),
)
"""Name -> format, in the order in which a row is tried."""
