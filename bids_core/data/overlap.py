"""Rows of one split that turn up in another: the same prompt, or the same run of words.

- `exact`: the prompts (all user turns) are equal, whatever the answers; letter case, Unicode form
  and spacing do not count.
- `ngram`: `n` words in a row are equal, in prompt or answer; punctuation around a word does not
  count either. Runs that more than 10 pool rows hold are the words of a template, not of a test
  row, and are left out (Source: GPT-3, arXiv 2005.14165, appendix C: 13 words, 10 documents).
- within validation and within test only `exact`.

Work is linear in the words of all rows: each run of words is one 64-bit polynomial hash, looked up
in the hashes of the held-out rows; the words of a hit are compared, so a collision reports nothing.

Shapes: W words of one row, G = W - n + 1 runs of n words.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from bids_core.records import Example

COLUMNS: Final = (
    "split", "row_id", "other_split", "other_row_id", "task", "kind", "shared",
)  # fmt: skip
"""Columns of the report: the row, the held-out row it overlaps with, that row's task, how, and the
text they share."""

MOST_POOL_ROWS: Final = 10
_EDGE_PUNCTUATION: Final = (
    ".,;:!?\"'\u201c\u201d\u2018\u2019`"  # not brackets and operators: sums differ by them
)
_BASE: Final = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no factor of 2^64 loses a word
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class _Hit:
    row: int
    other: int
    kind: str
    shared: str


def find_overlap(splits: Mapping[str, Sequence[Example]], *, ngram: int) -> pd.DataFrame:
    """Report rows of the pool that overlap with held-out rows, and held-out rows that repeat.

    Args:
        splits: examples of `train`, `validation` and `test`.
        ngram: words in a row that count as overlap.

    Returns:
        One row a pair, with `COLUMNS`; pairs of pool and validation first, then pool and test,
        validation and test, and repeats within validation and within test.
    """
    pairs = [
        (split, other)
        for split, other in (("train", "validation"), ("train", "test"), ("validation", "test"))
        if splits.get(split) and splits.get(other)
    ]
    found: list[tuple[str, ...]] = []
    for split, other in pairs:
        hits = _between(splits[split], splits[other], ngram)
        found.extend(_record(hit, split, splits[split], other, splits[other]) for hit in hits)
    for split in ("validation", "test"):
        rows = splits.get(split) or ()
        found.extend(_record(hit, split, rows, split, rows) for hit in _within(rows))
    return pd.DataFrame(found, columns=list(COLUMNS), dtype="object")


def prompt_text(example: Example) -> str:
    """Return the user's turns, normalised: case, Unicode form and spacing do not count."""
    return _normalised(" ".join(m.content for m in example.messages if m.role == "user"))


def words(example: Example) -> list[str]:
    """Return the words of prompt and answer, without punctuation around them."""
    text = " ".join(m.content for m in example.messages if m.role in ("user", "assistant"))
    stripped = (word.strip(_EDGE_PUNCTUATION) for word in _normalised(text).split(" "))
    return [word for word in stripped if word]


def _normalised(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _between(rows: Sequence[Example], others: Sequence[Example], n: int) -> Iterator[_Hit]:
    """Yield the overlapping pairs, each once; `exact` where both kinds hold."""
    exact = _exact(rows, others)
    known = {(hit.row, hit.other) for hit in exact}
    ngrams = [hit for hit in _ngrams(rows, others, n) if (hit.row, hit.other) not in known]
    yield from sorted([*exact, *ngrams], key=lambda hit: (hit.row, hit.other))


def _exact(rows: Sequence[Example], others: Sequence[Example]) -> list[_Hit]:
    places: dict[str, list[int]] = defaultdict(list)
    for other, example in enumerate(others):
        places[prompt_text(example)].append(other)
    hits: list[_Hit] = []
    for row, example in enumerate(rows):
        text = prompt_text(example)
        hits.extend(_Hit(row, other, "exact", text) for other in places.get(text, ()))
    return hits


def _within(rows: Sequence[Example]) -> Iterator[_Hit]:
    first: dict[str, int] = {}
    for row, example in enumerate(rows):
        text = prompt_text(example)
        if text in first:
            yield _Hit(row, first[text], "exact", text)
        first.setdefault(text, row)


def _ngrams(rows: Sequence[Example], others: Sequence[Example], n: int) -> list[_Hit]:
    vocabulary: dict[str, int] = {}
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    others_W = [_word_ids(example, vocabulary) for example in others]
    for other, ids_W in enumerate(others_W):
        for position, key in enumerate(_hashes(ids_W, n).tolist()):
            places[key].append((other, position))
    wanted = np.sort(np.fromiter(places, dtype=np.uint64, count=len(places)))
    if not len(wanted):
        return []
    spelled = list(vocabulary)
    holders: Counter[int] = Counter()
    matches: list[tuple[int, int, int]] = []
    for row, example in enumerate(rows):
        ids_W = _word_ids(example, vocabulary)
        keys_G = _hashes(ids_W, n)
        held = np.flatnonzero(wanted[np.searchsorted(wanted, keys_G) % len(wanted)] == keys_G)
        first_places = {int(keys_G[i]): int(i) for i in held[::-1]}
        holders.update(first_places.keys())
        matches.extend(
            (row, key, position)
            for key, position in first_places.items()
            if holders[key] <= MOST_POOL_ROWS
            and _same(ids_W, position, others_W, places[key][0], n)
        )
    return _pairs(matches, holders, places, others_W, spelled, n)


def _pairs(
    matches: list[tuple[int, int, int]],
    holders: Counter[int],
    places: Mapping[int, list[tuple[int, int]]],
    others_W: list[npt.NDArray[np.int64]],
    spelled: list[str],
    n: int,
) -> list[_Hit]:
    """Return one hit a pair of rows, with the first run of words that they share."""
    hits: dict[tuple[int, int], _Hit] = {}
    for row, key, _ in sorted(matches, key=lambda match: (match[0], match[2])):
        if holders[key] > MOST_POOL_ROWS:
            continue
        for other, position in places[key]:
            run = others_W[other][position : position + n]
            shared = " ".join(spelled[i] for i in run.tolist())
            hits.setdefault((row, other), _Hit(row, other, "ngram", shared))
    return list(hits.values())


def _word_ids(example: Example, vocabulary: dict[str, int]) -> npt.NDArray[np.int64]:
    """Return the [W] numbers of a row's words; new words get the next number."""
    ids = [vocabulary.setdefault(word, len(vocabulary)) for word in words(example)]
    return np.asarray(ids, dtype=np.int64)


def _hashes(ids_W: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.uint64]:
    """Return a [G] hash of each run of n words; arithmetic is modulo 2^64."""
    runs = len(ids_W) - n + 1
    if runs < 1:
        return np.empty(0, dtype=np.uint64)
    mixed_W = ids_W.astype(np.uint64) * np.uint64(0xBF58476D1CE4E5B9)
    mixed_W ^= mixed_W >> np.uint64(31)
    total_G = np.zeros(runs, dtype=np.uint64)
    for offset in range(n):
        total_G = total_G * _BASE + mixed_W[offset : offset + runs]
    return total_G


def _same(
    ids_W: npt.NDArray[np.int64],
    position: int,
    others_W: list[npt.NDArray[np.int64]],
    place: tuple[int, int],
    n: int,
) -> bool:
    other, start = place
    return np.array_equal(ids_W[position : position + n], others_W[other][start : start + n])


def _record(
    hit: _Hit, split: str, rows: Sequence[Example], other_split: str, others: Sequence[Example]
) -> tuple[str, ...]:
    other = others[hit.other]
    return (
        split, rows[hit.row].row_id, other_split, other.row_id, other.task or "", hit.kind,
        hit.shared[:_SHOWN],
    )  # fmt: skip
