"""Rows of one split that turn up in another: the same prompt, or the same run of words.

- `exact`: the prompts (all user turns) are equal, whatever the answers; letter case, Unicode form
  and spacing do not count.
- `ngram`: `n` words in a row are equal, in prompt or answer; punctuation around a word does not
  count either, and words that a template repeats in many rows are left out (see `ngrams`).
- within validation and within test only `exact`.

Work is linear in the words of all rows.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pandas as pd
import xxhash

from bids_core.data.ngrams import Numbering, RunIndex

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from bids_core.records import Example

COLUMNS: Final = (
    "split", "row_id", "other_split", "other_row_id", "task", "kind", "shared",
)  # fmt: skip
"""Columns of the report: the row, the held-out row it overlaps with, that row's task, how, and the
text they share."""

_EDGE_PUNCTUATION: Final = (
    ".,;:!?\"'\u201c\u201d\u2018\u2019`"  # not brackets and operators: sums differ by them
)
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class _Hit:
    row: int
    other: int
    kind: str
    shared: str


@dataclass(frozen=True, slots=True)
class _Side:
    """The rows of a split, ready to be compared: digests of prompts, numbers of words."""

    examples: Sequence[Example]
    prompts: list[bytes]
    words_W: list[npt.NDArray[np.int32]]

    @classmethod
    def of(cls, examples: Sequence[Example], numbering: Numbering) -> _Side:
        prompts = [xxhash.xxh3_128_digest(prompt_text(example).encode()) for example in examples]
        return cls(examples, prompts, [numbering.ids(words(example)) for example in examples])


def find_overlap(splits: Mapping[str, Sequence[Example]], *, ngram: int) -> pd.DataFrame:
    """Report rows of the pool that overlap with held-out rows, and held-out rows that repeat.

    Args:
        splits: examples of `train`, `validation` and `test`.
        ngram: words in a row that count as overlap.

    Returns:
        One row a pair, with `COLUMNS`; pairs of pool and validation first, then pool and test,
        validation and test, and repeats within validation and within test.
    """
    numbering = Numbering()
    sides = {name: _Side.of(rows, numbering) for name, rows in splits.items()}
    indices: dict[str, RunIndex] = {
        name: RunIndex(sides[name].words_W, [e.task for e in splits[name]], n=ngram)
        for name in ("validation", "test")
        if name in sides
    }
    found: list[tuple[str, ...]] = []
    for split, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        if split in sides and other in sides:
            hits = _between(sides[split], sides[other], indices[other], numbering)
            found.extend(_record(hit, split, splits[split], other, splits[other]) for hit in hits)
    for split in ("validation", "test"):
        rows = splits.get(split, ())
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


def _between(rows: _Side, others: _Side, index: RunIndex, numbering: Numbering) -> list[_Hit]:
    """Return the overlapping pairs, each once; `exact` where both kinds hold."""
    exact = _exact(rows, others)
    known = {(hit.row, hit.other) for hit in exact}
    ngrams = [
        _Hit(run.row, run.other, "ngram", " ".join(numbering.words(run.run_W)))
        for run in index.shared(rows.words_W)
        if (run.row, run.other) not in known
    ]
    return sorted([*exact, *ngrams], key=lambda hit: (hit.row, hit.other))


def _exact(rows: _Side, others: _Side) -> list[_Hit]:
    """Return pairs of equal prompts, with the first held-out row of each task that has it.

    Further held-out rows with that prompt show as repeats within their split; to pair all with all
    would be quadratic where a prompt is common.
    """
    places: dict[bytes, dict[str | None, int]] = defaultdict(dict)
    for other, digest in enumerate(others.prompts):
        places[digest].setdefault(others.examples[other].task, other)
    return [
        _Hit(row, other, "exact", prompt_text(rows.examples[row]))
        for row, digest in enumerate(rows.prompts)
        if digest in places
        for other in places[digest].values()
    ]


def _within(rows: Sequence[Example]) -> Iterator[_Hit]:
    first: dict[str, int] = {}
    for row, example in enumerate(rows):
        text = prompt_text(example)
        if text in first:
            yield _Hit(row, first[text], "exact", text)
        first.setdefault(text, row)


def _record(
    hit: _Hit, split: str, rows: Sequence[Example], other_split: str, others: Sequence[Example]
) -> tuple[str, ...]:
    other = others[hit.other]
    return (
        split, rows[hit.row].row_id, other_split, other.row_id, other.task or "", hit.kind,
        hit.shared[:_SHOWN],
    )  # fmt: skip
