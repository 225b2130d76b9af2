"""What is allowed in the data, but is probably a mistake: a source lost, a task with one answer."""

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
_SPLITS: Final = {"train": "pool", "validation": "validation", "test": "test"}


def doubts(data: PreparedData) -> list[str]:
    """Return a line for each source that is lost and each task whose answers are all the same."""
    return _lost(data) + _same_answers(data)


def _lost(data: PreparedData) -> list[str]:
    """Name sources of which no row is usable, with the reason for the first."""
    said = []
    for source in data.summary["sources"]:
        if source["kept"] or not source["read"]:
            continue
        split, name = source["split"], source["source"]
        first = next((r for r in data.rejects if (r.split, r.source) == (split, name)), None)
        why = f" ({first.location}: {first.detail})" if first is not None else ""
        said.append(
            f"{_SPLITS[split]} source {name}: none of its {source['read']:,} rows is usable{why}"
        )
    return said


def _same_answers(data: PreparedData) -> list[str]:
    """Name tasks with one answer; few rows and test rows without an answer are left out."""
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
