"""Records on the way from a file to the model: example as read, tokenized example, reject.

Shapes: T tokens of one example.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

IGNORED_LABEL: Final = -100
"""Label of a token that is ignored in the loss (the convention of torch's cross-entropy)."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One tool call in an assistant's turn.

    Args:
        name: of the tool.
        arguments: a JSON object, as text.
        id: identifier that the tool's answer refers to, if the data has one.
    """

    name: str
    arguments: str = "{}"
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Args:
        role: system, user, assistant or tool.
        content: the text; blank for an answer that only calls tools.
        reasoning: the assistant's reasoning before it, if the data keeps it separate.
        tool_calls: tool calls in the assistant's turn.
        name: of the tool that answers, or of the speaker.
        tool_call_id: the call that a tool's turn answers.
        weight: weight in the loss of each token of an assistant's turn; 0: it is not trained on.
        other: further fields of the turn, a JSON object as text; blank if there are none.
    """

    role: str
    content: str
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    name: str | None = None
    tool_call_id: str | None = None
    weight: float = 1.0
    other: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """One example as read from a file, before tokenization.

    Args:
        row_id: unique within its split; from the data, or ``<source>:<line>``.
        source: name of the data source (training pool) or of the task (validation, test).
        messages: the conversation; the assistant's turns are the completion.
        location: ``file:line`` for messages to the user.
        task: name of the validation or test task; None in the pool.
        capability: capability that the task belongs to; None in the pool.
        subtask: optional finer label within the task.
        choices: answer options of a multiple-choice test row.
        fields: the row as in the file (JSON), for judging its answers; test rows only.
        tools: schemas of the tools that the assistant may call (JSON list); None if there are none.
        extra: the row's other columns (JSON object); None if there are none.
        notes: remarks about the row, codes of `bids_core.data.notes.NOTES`.
        form: format it was read in; `mapping` if the configuration maps its columns.
    """

    row_id: str
    source: str
    messages: tuple[Message, ...]
    location: str
    task: str | None = None
    capability: str | None = None
    subtask: str | None = None
    choices: tuple[str, ...] | None = None
    fields: str | None = None
    tools: str | None = None
    extra: str | None = None
    notes: tuple[str, ...] = ()
    form: str | None = None


@dataclass(frozen=True, slots=True)
class TokenizedExample:
    """One example as the model sees it.

    Args:
        row_id: see `Example`.
        input_ids: [T] int32.
        labels: [T] int32, ``IGNORED_LABEL`` outside the completion; ``labels[t]`` equals
            ``input_ids[t]`` elsewhere (the shift by one happens in the loss).
        weights: [T] float32, weight of each labelled token in the mean loss; None if all weigh the
            same.
    """

    row_id: str
    input_ids: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32] | None = None

    @property
    def n_tokens(self) -> int:
        """Length in tokens."""
        return len(self.input_ids)


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was left out, and why.

    Args:
        location: ``file:line``.
        reason: short stable code, such as ``malformed-json`` or ``empty-completion``.
        detail: one sentence: what was found and how to fix it.
        split: train, validation or test.
        source: source or task name.
        row_id: if it was read far enough to have one.
    """

    location: str
    reason: str
    detail: str
    split: str
    source: str
    row_id: str | None = field(default=None)
