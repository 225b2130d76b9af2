"""Notes on rows that are kept: stable codes, counted and shown.

A note says that part of the row is not learned as it is in the data. A row that cannot be learned
at all is a reject (`bids_core.data.rejects`).
"""

from __future__ import annotations

from typing import Final

NOTES: Final = {
    "chosen-side": "preference row: the chosen answer is learned, the rejected one only exported",
    "weighted-turns": "answers with weight 0 are not learned, others count by their weight",
    "other-role-not-learned": "a turn of another role is marked for learning; it is not learned",
    "reasoning-dropped": "the chat template leaves out reasoning: it is exported but not learned",
    "answer-rewritten": "the chat template leaves out or rewrites part of an answer",
    "prompt-rewritten": "the chat template leaves out or rewrites a system, user or tool turn",
    "tools-not-shown": "the chat template has no place for the row's tools",
    "tools-in-system": "the system turn already lists the tools, so the row's own list is left out",
    "special-text": "a text spells a special token; it is encoded as plain text",
    "blank-thought": "the chat template writes a blank thought before an answer; it is not learned",
    "no-end-of-turn": "the chat template ends answers without a token, so stopping is not learned",
    "id-not-used": "the field `id` is neither text nor number; the row is named by its line",
}
"""Note -> its meaning. Codes are stable: users count and filter by them."""

ALTERED: Final = ("reasoning-dropped", "answer-rewritten", "prompt-rewritten", "tools-not-shown")
"""Notes on rows whose export holds more than is learned; `data.altered: reject` rejects them."""
