"""Finds test rows of a suite that are among the validation instances; the score leaves them out.

A test row is left out if a validation instance of a task with the same name has its id, or if its
question occurs in the prompt of any validation instance (so a surrounding template or preceding
few-shot examples do not hide it). Letter case, Unicode form and spacing are ignored.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bids_core.data.conversation import from_json, prompt_messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

_ID_FIELDS: Final = ("id", "task_id", "key", "question_id")
_QUESTION_FIELDS: Final = ("question", "problem", "prompt", "input", "text")
_SHORTEST: Final = 16
"""Shortest question, in characters, that is searched for inside a prompt; a shorter one must be the
whole prompt."""


@dataclass(frozen=True)
class ValidationTexts:
    """The validation instances, ready for searching.

    Args:
        ids: pairs of task and id.
        prompts: normalised prompts.
        everything: all prompts in one text.
    """

    ids: frozenset[tuple[str, str]]
    prompts: frozenset[str]
    everything: str

    @classmethod
    def of(cls, frame: pd.DataFrame) -> ValidationTexts:
        """Collect them from the prepared validation split."""
        ids, prompts = set(), []
        for row in frame.itertuples(index=False):
            name = str(row.row_id)
            ids |= {(str(row.task), name), (str(row.task), name.removeprefix(f"{row.source}:"))}
            turns = prompt_messages(from_json(str(row.messages)))
            prompts.append(normalised(" ".join(turn.content for turn in turns)))
        return cls(frozenset(ids), frozenset(prompts), "\n".join(prompts))

    def holds(self, document: Mapping[str, Any], *, task: str) -> bool:
        """Return whether a test row is one of them."""
        for field in _ID_FIELDS:
            if field in document and (task, str(document[field])) in self.ids:
                return True
        question = normalised(question_of(document))
        if not question:
            return False
        if len(question) < _SHORTEST:
            return question in self.prompts
        return question in self.everything


def kept_rows(
    documents: Sequence[Mapping[str, Any]], validation: ValidationTexts, *, task: str
) -> list[int]:
    """Return the positions of the test rows that are not validation instances."""
    return [
        index
        for index, document in enumerate(documents)
        if not validation.holds(document, task=task)
    ]


def question_of(document: Mapping[str, Any]) -> str:
    """Return the question of a test row."""
    for field in _QUESTION_FIELDS:
        if isinstance(document.get(field), str):
            return str(document[field])
    return ""


def normalised(text: str) -> str:
    """Return a text in lower case, a single Unicode form, and single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
