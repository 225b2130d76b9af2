"""Runs of n words that rows share, found in linear time.

Each run of words is one 64-bit polynomial hash; those of the pool are looked up in the sorted
hashes of the held-out rows, and the words of a hit are compared, so a collision reports nothing.

Words of a template say nothing about a row, so a run is left out if more than 10 pool rows hold it
(Source: GPT-3, arXiv 2005.14165, appendix C: 13 words, 10 documents), more than 10 held-out rows
do, or more than half of the rows of a task that has at least 4.

Shapes: W words of one row, G = W - n + 1 runs of n words.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

MOST_ROWS: Final = 10
_SMALLEST_TASK: Final = 4  # of 2 or 3 rows, sharing words says little about a template
_BASE: Final = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no factor of 2^64 loses a word
_MIX: Final = np.uint64(0xBF58476D1CE4E5B9)


@dataclass(frozen=True, slots=True)
class SharedRun:
    """A pair of rows and the numbers of the first words that they share."""

    row: int
    other: int
    run_W: npt.NDArray[np.int32]


class Numbering:
    """Numbers words in the order in which they turn up, so that rows compare as integers."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._spelled: list[str] = []

    def ids(self, words: Iterable[str]) -> npt.NDArray[np.int32]:
        """Return the [W] numbers of words; a new word gets the next number."""
        numbers = self._numbers
        return np.asarray([numbers.setdefault(w, len(numbers)) for w in words], dtype=np.int32)

    def words(self, ids_W: npt.NDArray[np.int32]) -> list[str]:
        """Return the words of [W] numbers."""
        if len(self._spelled) < len(self._numbers):
            self._spelled = list(self._numbers)
        return [self._spelled[number] for number in ids_W.tolist()]


class RunIndex:
    """The runs of words of held-out rows.

    Args:
        others_W: [W] word numbers of each held-out row.
        tasks: its task.
        n: words in a run.
    """

    def __init__(
        self, others_W: Sequence[npt.NDArray[np.int32]], tasks: Sequence[str | None], *, n: int
    ) -> None:
        self._n = n
        self._others_W = others_W
        self._places: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for other, ids_W in enumerate(others_W):
            for position, key in enumerate(_hashes(ids_W, n).tolist()):
                places = self._places[key]
                if not places or places[-1][0] != other:
                    places.append((other, position))
        sizes = Counter(tasks)
        for key in [k for k, places in self._places.items() if _is_template(places, tasks, sizes)]:
            del self._places[key]
        self._keys = np.sort(np.fromiter(self._places, dtype=np.uint64, count=len(self._places)))

    def shared(self, rows_W: Iterable[npt.NDArray[np.int32]]) -> list[SharedRun]:
        """Return the pairs of rows that share a run, one entry a pair.

        Args:
            rows_W: [W] word numbers of each pool row.
        """
        if not len(self._keys):
            return []
        holders: Counter[int] = Counter()
        matches: list[tuple[int, int]] = []
        for row, ids_W in enumerate(rows_W):
            for key in self._held(ids_W):
                holders[key] += 1
                if holders[key] <= MOST_ROWS:
                    matches.append((row, key))
        pairs: dict[tuple[int, int], SharedRun] = {}
        for row, key in matches:
            if holders[key] <= MOST_ROWS:
                for other, position in self._places[key]:
                    if (row, other) not in pairs:
                        run_W = self._others_W[other][position : position + self._n]
                        pairs[row, other] = SharedRun(row, other, run_W)
        return list(pairs.values())

    def _held(self, ids_W: npt.NDArray[np.int32]) -> list[int]:
        """Return the keys of the held-out runs that a row holds, each once, in order."""
        keys_G = _hashes(ids_W, self._n)
        places_G = np.searchsorted(self._keys, keys_G) % len(self._keys)
        found: dict[int, None] = {}
        for position in np.flatnonzero(self._keys[places_G] == keys_G).tolist():
            key = int(keys_G[position])
            other, start = self._places[key][0]
            run_W = ids_W[position : position + self._n]
            if np.array_equal(run_W, self._others_W[other][start : start + self._n]):
                found[key] = None
        return list(found)


def _hashes(ids_W: npt.NDArray[np.int32], n: int) -> npt.NDArray[np.uint64]:
    """Return a [G] hash of each run of n words; arithmetic is modulo 2^64."""
    runs = len(ids_W) - n + 1
    if runs < 1:
        return np.empty(0, dtype=np.uint64)
    mixed_W = (ids_W.astype(np.uint64) + np.uint64(1)) * _MIX
    mixed_W ^= mixed_W >> np.uint64(31)
    total_G = np.zeros(runs, dtype=np.uint64)
    for offset in range(n):
        total_G = total_G * _BASE + mixed_W[offset : offset + runs]
    return total_G


def _is_template(
    places: list[tuple[int, int]], tasks: Sequence[str | None], sizes: Counter[str | None]
) -> bool:
    if len(places) > MOST_ROWS:
        return True
    if len(places) == 1:
        return False
    counts = Counter(tasks[other] for other, _ in places)
    return any(
        sizes[task] >= _SMALLEST_TASK and 2 * count > sizes[task] for task, count in counts.items()
    )
