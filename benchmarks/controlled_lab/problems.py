"""Twelve tasks on sequences of symbols, and rows of them.

Six are the target tasks, those of `benchmarks/influence_quality.py`; the other six are similar, but
not targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_core.records import IGNORED_LABEL, TokenizedExample

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

Symbols = "npt.NDArray[np.int64]"

SYMBOLS, LENGTH = 20, 6
SEPARATOR = SYMBOLS + 1
FIRST_TASK_TOKEN = SEPARATOR + 1

TARGETS: dict[str, Callable[[Symbols], Symbols]] = {
    "copy": lambda x: x,
    "reverse": lambda x: x[::-1],
    "sort": np.sort,
    "shift": lambda x: (x + 1) % SYMBOLS,
    "double": lambda x: 2 * x % SYMBOLS,
    "swap": lambda x: x[[1, 0, 3, 2, 5, 4]],
}
OTHERS: dict[str, Callable[[Symbols], Symbols]] = {
    "rotate": lambda x: np.roll(x, -1),
    "back": lambda x: (x - 1) % SYMBOLS,
    "negate": lambda x: SYMBOLS - 1 - x,
    "triple": lambda x: 3 * x % SYMBOLS,
    "mirror": lambda x: x[[0, 1, 2, 2, 1, 0]],
    "cumulate": lambda x: np.cumsum(x) % SYMBOLS,
}
TASKS = TARGETS | OTHERS
VOCABULARY = FIRST_TASK_TOKEN + len(TASKS)


@dataclass(frozen=True)
class Row:
    """One row, and what is known about it.

    Args:
        task: its task.
        kind: `clean`, `off_target`, `wrong` (the answer of another row) or `duplicate`.
        source: [LENGTH] the symbols of the question.
        answer: [LENGTH] the symbols that the row gives as the answer.
    """

    task: str
    kind: str
    source: Symbols
    answer: Symbols

    def tokens(self) -> npt.NDArray[np.int32]:
        """Return task token, question, separator, answer: [2 + 2 LENGTH]."""
        task = FIRST_TASK_TOKEN + list(TASKS).index(self.task)
        return np.array([task, *self.source, SEPARATOR, *self.answer], dtype=np.int32)

    def example(self, row_id: str) -> TokenizedExample:
        """Return the row in the library's form; only the answer counts in the loss."""
        ids = self.tokens()
        labels = np.where(np.arange(len(ids)) < len(ids) - LENGTH, IGNORED_LABEL, ids)
        return TokenizedExample(row_id, ids, labels.astype(np.int32))

    def text(self) -> str:
        """Return the row in words, for BM25 and DSIR: they read the task's name in every row."""
        words = [f"s{symbol}" for symbol in self.source], [f"s{symbol}" for symbol in self.answer]
        return f"{self.task} {' '.join(words[0])} gives {' '.join(words[1])}"


def draw(task: str, count: int, rng: np.random.Generator, kind: str = "clean") -> list[Row]:
    """Return rows with correct answers."""
    sources = rng.integers(0, SYMBOLS, (count, LENGTH))
    return [Row(task, kind, source, TASKS[task](source)) for source in sources]


def draw_wrong(task: str, count: int, rng: np.random.Generator) -> list[Row]:
    """Return rows with the correct answer to another question."""
    asked, answered = rng.integers(0, SYMBOLS, (2, count, LENGTH))
    return [
        Row(task, "wrong", source, TASKS[task](other))
        for source, other in zip(asked, answered, strict=True)
    ]


def draw_broken(task: str, count: int, rng: np.random.Generator) -> list[Row]:
    """Return rows that all have the same answer, as from a broken source."""
    sources = rng.integers(0, SYMBOLS, (count, LENGTH))
    return [Row(task, "wrong", source, np.zeros(LENGTH, dtype=np.int64)) for source in sources]


def near_duplicates(row: Row, count: int, rng: np.random.Generator) -> list[Row]:
    """Return copies of a row with one symbol of the question changed, and correct answers."""
    copies = []
    for _ in range(count):
        source = row.source.copy()
        source[rng.integers(LENGTH)] = rng.integers(SYMBOLS)
        copies.append(Row(row.task, "duplicate", source, TASKS[row.task](source)))
    return copies
