"""Extracts the answer from a text, and scores always giving the most frequent answer."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bids_core.sandbox import Expression, expression

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.config import TestTask


def compile_pattern(task: TestTask) -> Expression | None:
    """Compile a task's answer pattern.

    Raises:
        ConfigError: it is not a regular expression.
    """
    if task.answer_pattern is None:
        return None
    return expression(task.answer_pattern, key=f"test task {task.task!r}: answer_pattern")


def extract_answer(text: str, pattern: Expression | None) -> str | None:
    """Return the answer in a text, stripped of whitespace.

    Args:
        text: reference completion or generation.
        pattern: its last match is the answer (group 1 if it has one); None for the whole text.

    Returns:
        The answer, or None if the pattern does not match.

    Raises:
        ConfigError: the pattern takes too long on the text.
    """
    if pattern is None:
        return text.strip()
    answer = pattern.last_match(text)
    return None if answer is None else answer.strip()


def majority_score(references: Sequence[str]) -> float:
    """Return the score of always giving the most frequent reference answer."""
    return Counter(references).most_common(1)[0][1] / len(references)
