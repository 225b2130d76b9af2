"""Tasks whose answers are all the same: a mistake that is easily made with sorted files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bids_core.data.conversation import completion_text, from_json
from bids_core.data.rejects import shorten

if TYPE_CHECKING:
    from bids_core.data.splits import PreparedData

_FEW: Final = 3  # two rows may well have one answer
_MEANING: Final = {
    "validation": "influence favours rows with this answer, whatever the question",
    "test": "always giving it scores 100%, so the task cannot tell methods apart",
}


def same_answers(data: PreparedData) -> list[str]:
    """Return a line for each validation or test task of which all answers are the same.

    Tasks with fewer than three rows, and test rows without an answer, are left out.
    """
    said = []
    for split, meaning in _MEANING.items():
        frame = getattr(data, split).frame
        for task, messages in frame.groupby("task", sort=False)["messages"]:
            answers = {completion_text(from_json(text)).strip() for text in messages}
            if len(messages) < _FEW or len(answers) > 1 or answers == {""}:
                continue
            said.append(
                f"{split} task {task}: all {len(messages):,} answers are "
                f"{shorten(answers.pop())}: {meaning}; add rows with other answers"
            )
    return said
