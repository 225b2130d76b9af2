"""What counts as the answer in a text, and how often the most frequent answer is right."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from bids_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.config import TestTask


def compile_pattern(task: TestTask) -> re.Pattern[str] | None:
    """Compile a task's answer pattern.

    Raises:
        ConfigError: it is not a regular expression.
    """
    if task.answer_pattern is None:
        return None
    try:
        return re.compile(task.answer_pattern)
    except re.error as error:
        msg = (
            f"test task {task.task!r}: answer_pattern {task.answer_pattern!r} is not a regular "
            f"expression ({error})"
        )
        raise ConfigError(msg) from error


def extract_answer(text: str, pattern: re.Pattern[str] | None) -> str | None:
    """Return the answer in a text, stripped of white space.

    Args:
        text: reference completion or generation.
        pattern: its last match is the answer (group 1 where it has one); None takes the whole text.

    Returns:
        The answer, or None where the pattern matches nothing.
    """
    if pattern is None:
        return text.strip()
    last = None
    for last in pattern.finditer(text):  # noqa: B007 - the last match is what is wanted
        pass
    if last is None:
        return None
    answer: str | None = last.group(1) if pattern.groups else last.group(0)
    return None if answer is None else answer.strip()


def majority_score(references: Sequence[str]) -> float:
    """Return the score of always answering the most frequent reference answer."""
    return Counter(references).most_common(1)[0][1] / len(references)
