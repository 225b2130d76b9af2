"""Why rows are rejected: the stable codes, and the error that carries one."""

from __future__ import annotations

from typing import Final

from bids_core.errors import DataError

REASONS: Final = {
    "malformed-json": "the line is not valid JSON",
    "not-an-object": "the row is valid JSON, but not an object with named fields",
    "not-utf8": "the row holds bytes (or lone surrogates) that are not UTF-8 text",
    "null-bytes": "the row holds NUL characters",
    "malformed-csv": "a quote in the CSV row is not closed, or is inside unquoted text",
    "row-too-long": "the line or row is longer than limits.row_bytes of its source",
    "csv-columns": "the row has more or fewer columns than the header",
    "missing-field": "a field that the format or the mapping needs is missing",
    "wrong-type": "a field holds something other than text (or a list of messages)",
    "mapping-failed": "the Jinja template of the mapping raised an error on this row",
    "template-too-costly": "a template takes more than data.template_steps steps on this row",
    "unknown-role": "a turn's role is not system, user, assistant or tool",
    "unsupported-content": "the row holds something that is not text (image, audio, video, file)",
    "bad-tools": "the tools or a tool call cannot be read, so they cannot be shown",
    "negative-feedback": "the row's feedback (label, kto_tag) says that its answer is bad",
    "unsupported-weights": "only parts of a turn are marked for learning",
    "nothing-to-learn": "every answer has weight 0 (weight, train, loss_weight)",
    "no-assistant-turn": "there is no assistant turn, so there is nothing to learn",
    "no-user-turn": "there is no user turn, so there is no prompt",
    "last-turn-not-assistant": "the conversation ends without an answer",
    "empty-prompt": "a user turn is blank",
    "empty-completion": "an assistant turn is blank (after `strip_suffix`)",
    "bad-choices": "the answer is not among the choices, or the choices are not a list of texts",
    "duplicate-id": "the row id was seen before in this source",
    "template-refused": "the chat template raised an error on this conversation",
    "template-changed-content": "the chat template alters the turns, so the mask is uncertain",
    "template-without-tools": "the chat template leaves out a tool call, which is the answer",
    "template-altered": "the chat template leaves out or rewrites something (data.altered: reject)",
    "special-token-text": "a text spells a special token, and cannot be encoded as plain text",
    "completion-truncated": "no token of the completion is left within data.max_length",
    "prompt-truncated": "the prompt of a row without an answer is longer than data.max_length",
    "overlap-validation": "the pool row overlaps with a validation row (data.overlap: drop)",
    "overlap-test": "the pool row overlaps with a test row (data.overlap: drop)",
}
"""Reason code -> its meaning. Codes are stable: users count and filter by them."""


class RejectedRow(DataError):
    """One row cannot be used; the run continues without it.

    Args:
        reason: a key of `REASONS`.
        detail: one sentence that says what was found and how to fix it.
        row_id: its id, if it was already known.
    """

    def __init__(self, reason: str, detail: str, row_id: str | None = None) -> None:
        if reason not in REASONS:
            msg = f"{reason!r} is not a known reject reason"
            raise ValueError(msg)
        self.reason = reason
        self.detail = " ".join(detail.split())  # one line, whatever the data holds
        self.row_id = row_id
        super().__init__(f"{reason}: {self.detail}")


def shorten(value: object, width: int = 60) -> str:
    """Return a value's repr, shortened so that a message stays one readable line."""
    text = repr(value)
    return text if len(text) <= width else f"{text[: width - 3]}..."
