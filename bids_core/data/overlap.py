"""Rows of one split that also occur in another: the same prompt, or many shared runs of words.

- `exact`: the prompts (all user turns) are equal, whatever the answers; letter case, Unicode form
  and spacing are ignored.
- `ngram`: the row contains at least half of the runs of `n` words in the other row's prompt, or in
  its answer. Punctuation around words is ignored too, and so are runs that a template repeats in
  many rows (see `ngrams`). Languages written without spaces have no such runs.
- within validation and within test, only `exact` is checked.

The time is linear in the total number of words.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
import xxhash

from bids_core.data.ngrams import Numbering, RunIndex

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from bids_core.records import Example

COLUMNS: Final = (
    "split", "row_id", "other_split", "other_row_id", "task", "kind", "share", "shared",
)  # fmt: skip
"""Columns of the report: the row, the held-out row it overlaps with, that row's task, the kind of
overlap, the fraction of that row's prompt or answer that is shared (1.0 for `exact`), and some of
the shared words."""

_EDGE_PUNCTUATION: Final = (
    ".,;:!?\"'\u201c\u201d\u2018\u2019`"  # not brackets and operators, by which sums differ
)
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class _Hit:
    row: int
    other: int
    kind: str
    share: float
    shared: str


@dataclass(frozen=True, slots=True)
class _Side:
    """The rows of a split, ready for comparison: prompt digests and word numbers."""

    examples: Sequence[Example]
    digests: list[bytes]
    prompts_W: list[npt.NDArray[np.int32]]
    answers_W: list[npt.NDArray[np.int32]]

    @classmethod
    def of(cls, examples: Sequence[Example], numbering: Numbering) -> _Side:
        prompts = [prompt_text(example) for example in examples]
        return cls(
            examples,
            [xxhash.xxh3_128_digest(prompt.encode()) for prompt in prompts],
            [numbering.ids(words(prompt)) for prompt in prompts],
            [numbering.ids(words(_turns(example, "assistant"))) for example in examples],
        )

    def rows_W(self) -> Iterator[npt.NDArray[np.int32]]:
        """Yield the words of each row, prompt and answer together."""
        for prompt_W, answer_W in zip(self.prompts_W, self.answers_W, strict=True):
            yield np.concatenate([prompt_W, answer_W])

    def index(self, n: int) -> RunIndex:
        """Return an index of the prompts, then of the answers."""
        tasks = [example.task for example in self.examples]
        groups = [(task, part) for part in ("prompt", "answer") for task in tasks]
        return RunIndex([*self.prompts_W, *self.answers_W], groups, n=n)


def find_overlap(splits: Mapping[str, Sequence[Example]], *, ngram: int) -> pd.DataFrame:
    """Report pool rows that overlap with held-out rows, and repeated held-out rows.

    Args:
        splits: examples of `train`, `validation` and `test`.
        ngram: length n of the runs of words.

    Returns:
        One row per pair, with `COLUMNS`: first pool and validation, then pool and test, validation
        and test, and repeats within validation and within test.
    """
    numbering = Numbering()
    sides = {name: _Side.of(rows, numbering) for name, rows in splits.items()}
    indices = {name: sides[name].index(ngram) for name in sides if name != "train"}
    found: list[tuple[str | float, ...]] = []
    for split, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        if split in sides and other in sides:
            hits = _between(sides[split], sides[other], indices[other], numbering)
            found.extend(_record(hit, split, splits[split], other, splits[other]) for hit in hits)
    for split in ("validation", "test"):
        rows = splits.get(split, ())
        found.extend(_record(hit, split, rows, split, rows) for hit in _within(rows))
    return as_report(found)


def as_report(rows: Sequence[Sequence[str | float]] = ()) -> pd.DataFrame:
    """Return rows of a report as a data frame with its dtypes: text, and `share` a float."""
    report = pd.DataFrame(rows, columns=list(COLUMNS), dtype="object")
    return report.astype({"share": "float64"})


def prompt_text(example: Example) -> str:
    """Return the user's turns, normalised in case, Unicode form and spacing."""
    return _turns(example, "user")


def words(text: str) -> list[str]:
    """Return the words of a normalised text, without punctuation around them."""
    stripped = (word.strip(_EDGE_PUNCTUATION) for word in text.split(" "))
    return [word for word in stripped if word]


def _turns(example: Example, role: str) -> str:
    return _normalised(" ".join(m.content for m in example.messages if m.role == role))


def _normalised(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _between(rows: _Side, others: _Side, index: RunIndex, numbering: Numbering) -> list[_Hit]:
    """Return the overlapping pairs, each once, as `exact` if both kinds apply."""
    hits = {(hit.row, hit.other): hit for hit in _exact(rows, others)}
    for found in index.shared(rows.rows_W()):
        place = found.row, found.other % len(others.examples)  # the index: prompts, then answers
        hit = _Hit(*place, "ngram", found.share, " ".join(numbering.words(found.run_W)))
        if place not in hits or hit.share > hits[place].share:
            hits[place] = hit
    return [hits[place] for place in sorted(hits)]


def _exact(rows: _Side, others: _Side) -> list[_Hit]:
    """Return pairs of rows with equal prompts: only the first held-out row of each task.

    Further held-out rows with that prompt are reported as repeats within their split; pairing all
    with all would be quadratic for common prompts.
    """
    places: dict[bytes, dict[str | None, int]] = defaultdict(dict)
    for other, digest in enumerate(others.digests):
        places[digest].setdefault(others.examples[other].task, other)
    return [
        _Hit(row, other, "exact", 1.0, prompt_text(rows.examples[row]))
        for row, digest in enumerate(rows.digests)
        if digest in places
        for other in places[digest].values()
    ]


def _within(rows: Sequence[Example]) -> Iterator[_Hit]:
    first: dict[str, int] = {}
    for row, example in enumerate(rows):
        text = prompt_text(example)
        if text in first:
            yield _Hit(row, first[text], "exact", 1.0, text)
        first.setdefault(text, row)


def _record(
    hit: _Hit, split: str, rows: Sequence[Example], other_split: str, others: Sequence[Example]
) -> tuple[str | float, ...]:
    other = others[hit.other]
    return (
        split, rows[hit.row].row_id, other_split, other.row_id, other.task or "", hit.kind,
        hit.share, hit.shared[:_SHOWN],
    )  # fmt: skip
