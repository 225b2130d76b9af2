"""Finds texts that share many runs of n words, in linear time.

Each run of words is hashed to 64 bits (polynomial hash). The pool's hashes are looked up in the
sorted hashes of the held-out texts, and the words of a hit are compared, so a hash collision is
never reported. A text's *own* runs are those that are not from a template: they occur in at most 10
pool rows (Source: GPT-3, arXiv 2005.14165, appendix C: 13 words, 10 documents), in at most 10
held-out texts, and in at most half of the texts of any group of at least 4. A pool row shares a
text if it contains at least half of the text's own runs: a single common sentence is chance or
style, especially if texts are made from templates with small gaps.

Shapes: W words of one text, G = W - n + 1 runs of n words; R runs of all held-out texts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    import numpy.typing as npt

MOST_ROWS: Final = 10
LEAST_SHARE: Final = 0.5
_SMALLEST_GROUP: Final = 4  # shared words in 2 or 3 texts say little about a template
_BASE: Final = np.uint64(0x9E3779B97F4A7C15)  # odd: multiplication modulo 2^64 loses no word
_MIX: Final = np.uint64(0xBF58476D1CE4E5B9)


@dataclass(frozen=True, slots=True)
class Shared:
    """A pool row and a held-out text that it shares.

    Args:
        row: index of the pool row.
        other: index of the held-out text.
        share: fraction of the text's own runs that the row contains, at least `LEAST_SHARE`.
        run_W: [n] word numbers of the first shared run.
    """

    row: int
    other: int
    share: float
    run_W: npt.NDArray[np.int32]


class Numbering:
    """Numbers words in order of appearance, so that rows can be compared as integers."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._spelled: list[str] = []

    def ids(self, words: Iterable[str]) -> npt.NDArray[np.int32]:
        """Return the numbers of words, [W]; a new word gets the next number."""
        numbers = self._numbers
        return np.asarray([numbers.setdefault(w, len(numbers)) for w in words], dtype=np.int32)

    def words(self, ids_W: npt.NDArray[np.int32]) -> list[str]:
        """Return the words with the given numbers, [W]."""
        if len(self._spelled) < len(self._numbers):
            self._spelled = list(self._numbers)
        return [self._spelled[number] for number in ids_W.tolist()]


class RunIndex:
    """The runs of words of held-out texts.

    Args:
        others_W: [W] word numbers of each held-out text.
        groups: group of each text that may share a template, such as its task.
        n: words in a run.
    """

    def __init__(
        self, others_W: Sequence[npt.NDArray[np.int32]], groups: Sequence[Hashable], *, n: int
    ) -> None:
        self._n = n
        self._others_W = others_W
        keys = [_hashes(ids_W, n) for ids_W in others_W]
        keys_R = np.concatenate([*keys, np.empty(0, dtype=np.uint64)])
        others_R = np.repeat(np.arange(len(keys)), [len(key_G) for key_G in keys])
        positions_R = np.concatenate([np.arange(len(key_G)) for key_G in keys] or [others_R])
        order = np.lexsort((positions_R, others_R, keys_R))
        keys_R, others_R = keys_R[order], others_R[order]
        again_R = (np.diff(keys_R) == 0) & (np.diff(others_R) == 0)
        first = np.flatnonzero(np.concatenate([np.ones(min(1, len(keys_R)), bool), ~again_R]))
        self._others, self._positions = others_R[first], positions_R[order][first]
        self._keys, self._starts, self._counts = np.unique(
            keys_R[first], return_index=True, return_counts=True
        )
        self._keep(self._is_own(groups))

    def shared(self, rows_W: Iterable[npt.NDArray[np.int32]]) -> list[Shared]:
        """Return the pairs of a pool row and a held-out text that it shares.

        Args:
            rows_W: [W] word numbers of each pool row.
        """
        if not len(self._keys):
            return []
        holders = np.zeros(len(self._keys), dtype=np.int64)
        matches: list[tuple[int, int]] = []
        for row, ids_W in enumerate(rows_W):
            for key in self._held(ids_W):
                holders[key] += 1
                if holders[key] <= MOST_ROWS:
                    matches.append((row, key))
        held: dict[tuple[int, int], list[int]] = defaultdict(list)
        for row, key in matches:
            if holders[key] <= MOST_ROWS:
                for other, position in self._places(key):
                    held[row, other].append(position)
        own = self._own_runs(holders <= MOST_ROWS)
        return [
            Shared(row, other, len(positions) / own[other], self._run(other, min(positions)))
            for (row, other), positions in held.items()
            if len(positions) >= LEAST_SHARE * own[other]
        ]

    def _own_runs(self, kept: npt.NDArray[np.bool_]) -> list[int]:
        """Return how many own runs each text has, given which keys are not from a template."""
        places = [
            np.arange(start, start + count)
            for start, count in zip(self._starts[kept], self._counts[kept], strict=True)
        ]
        others = self._others[np.concatenate([*places, np.empty(0, dtype=np.int64)])]
        return list(np.bincount(others, minlength=len(self._others_W)).tolist())

    def _run(self, other: int, position: int) -> npt.NDArray[np.int32]:
        return self._others_W[other][position : position + self._n]

    def _held(self, ids_W: npt.NDArray[np.int32]) -> list[int]:
        """Return which keys a row contains, as indices into `_keys`, each once, in order."""
        keys_G = _hashes(ids_W, self._n)
        places_G = np.searchsorted(self._keys, keys_G) % len(self._keys)
        found: dict[int, None] = {}
        for position in np.flatnonzero(self._keys[places_G] == keys_G).tolist():
            key = int(places_G[position])
            other, start = next(self._places(key))
            run_W = ids_W[position : position + self._n]
            if np.array_equal(run_W, self._run(other, start)):
                found[key] = None
        return list(found)

    def _places(self, key: int) -> Iterator[tuple[int, int]]:
        """Yield the held-out texts that contain a run, and its first position in each."""
        start, count = int(self._starts[key]), int(self._counts[key])
        for place in range(start, start + count):
            yield int(self._others[place]), int(self._positions[place])

    def _is_own(self, groups: Sequence[Hashable]) -> npt.NDArray[np.bool_]:
        """Return for each key whether it is an own run, judged by the held-out texts alone."""
        sizes = Counter(groups)
        kept = self._counts <= MOST_ROWS
        for key in np.flatnonzero(kept & (self._counts > 1)).tolist():
            holders = Counter(groups[other] for other, _ in self._places(key))
            kept[key] = not any(
                sizes[group] >= _SMALLEST_GROUP and 2 * held > sizes[group]
                for group, held in holders.items()
            )
        return kept

    def _keep(self, kept: npt.NDArray[np.bool_]) -> None:
        self._keys, self._starts, self._counts = (
            self._keys[kept], self._starts[kept], self._counts[kept]
        )  # fmt: skip


def _hashes(ids_W: npt.NDArray[np.int32], n: int) -> npt.NDArray[np.uint64]:
    """Return the hash of each run of n words, [G]; arithmetic is modulo 2^64."""
    runs = len(ids_W) - n + 1
    if runs < 1:
        return np.empty(0, dtype=np.uint64)
    mixed_W = (ids_W.astype(np.uint64) + np.uint64(1)) * _MIX
    mixed_W ^= mixed_W >> np.uint64(31)
    total_G = np.zeros(runs, dtype=np.uint64)
    for offset in range(n):
        total_G = total_G * _BASE + mixed_W[offset : offset + runs]
    return total_G
