"""A row as the model sees it: the rendered text in pieces, and which tokens are learned."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_core.data.chat import ChatRenderer
from bids_core.data.conversation import from_json
from bids_core.data.ingest import Ingested, ingest
from bids_core.data.literal import encode
from bids_core.data.notes import NOTES
from bids_core.data.rejects import REASONS, RejectedRow
from bids_core.data.sources import SPLITS, find_sources
from bids_core.data.tokenization import Masked, mask
from bids_core.errors import UserError
from bids_core.records import Example

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from bids_core.config import DataConfig, RunConfig
    from bids_core.data.chat import Rendered
    from bids_core.data.splits import PreparedData
    from bids_core.records import Reject


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the rendered text whose tokens have the same weight.

    Args:
        text: as the tokens spell it.
        turn: index of the answer's turn; None for text that is only read.
        role: of that turn.
        weight: weight of its tokens in the loss; 0 means read but not learned.
        n_tokens: number of tokens.
        cut: beyond `data.max_length`, so neither read nor learned.
    """

    text: str
    turn: int | None
    role: str | None
    weight: float
    n_tokens: int
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Token:
    """One token: its id, text (empty inside a character of several tokens) and weight."""

    id: int
    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class RowView:
    """What one row becomes.

    Args:
        row_id: its id; None if it was rejected before it got one.
        split: train, validation or test.
        source: name of its source or task.
        location: `file:line`.
        format: format it was read in.
        notes: codes of `NOTES`.
        reject: reason and detail, if the row is rejected.
        pieces: the rendered text, in order; empty if there is none.
        tokens: its tokens, likewise.
        cut: number of tokens beyond `data.max_length`.
        columns: names of the row's extra columns.
    """

    row_id: str | None
    split: str
    source: str
    location: str
    format: str | None = None
    notes: tuple[str, ...] = ()
    reject: tuple[str, str] | None = None
    pieces: tuple[Piece, ...] = ()
    tokens: tuple[Token, ...] = ()
    cut: int = 0
    columns: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-serialisable values."""
        return asdict(self)


class Rows:
    """The rows of a run, read but not rendered, for inspecting single ones.

    Args:
        config: the run.
        tokenizer: the model's, with `data.template_args` set.
        base_dir: folder that relative paths start from.

    Raises:
        ConfigError, DataError: as `bids_core.data.prepare`.
    """

    def __init__(
        self, config: RunConfig, tokenizer: PreTrainedTokenizerBase, *, base_dir: Path
    ) -> None:
        self._config, self._tokenizer = config, tokenizer
        sources = find_sources(config, base_dir)
        self._read: dict[str, Ingested] = {
            split: ingest(
                [source for source in sources if source.split == split],
                merge=config.data.system == "merge",
                join=config.data.join_turns,
                steps=config.data.template_steps,
            )
            for split in SPLITS
        }

    def find(self, row: str) -> RowView:
        """Return a row by its id, or by `file:line` (including rejected ones).

        Raises:
            UserError: there is no such row.
        """
        named = [(s, e) for s, e in self._examples() if e.row_id == row]
        named = named or [(s, e) for s, e in self._examples() if _ends(e.location, row)]
        if named:
            return view(*named[0], self._tokenizer, self._config.data)
        for reject in self._rejects():
            if row == reject.row_id or _names(reject, row):
                why = (reject.reason, reject.detail)
                return RowView(
                    reject.row_id, reject.split, reject.source, reject.location, reject=why
                )
        msg = f"there is no row {row!r}{self._nearest(row)}; give a row id, or file:line"
        raise UserError(msg)

    def first_of_each_format(self) -> list[RowView]:
        """Return, for each format, the first row that renders, or else the first row."""
        found: dict[str, RowView] = {}
        for split, example in self._examples():
            form = str(example.form)
            if form not in found or found[form].reject is not None:
                shown = view(split, example, self._tokenizer, self._config.data)
                found[form] = shown if shown.reject is None else found.get(form, shown)
        return list(found.values())

    def _examples(self) -> Iterator[tuple[str, Example]]:
        for split, read in self._read.items():
            for example in read.examples:
                yield split, example

    def _rejects(self) -> Iterator[Reject]:
        for read in self._read.values():
            yield from read.rejects

    def _nearest(self, row: str) -> str:
        import difflib

        ids = [example.row_id for _, example in self._examples()]
        near = difflib.get_close_matches(row, ids, n=3)
        return f" (the nearest are {', '.join(near)})" if near else ""


def one_of_each_format(
    prepared: PreparedData, tokenizer: PreTrainedTokenizerBase, data: DataConfig
) -> list[RowView]:
    """Return the first prepared row of each format, rendered."""
    found: dict[str, RowView] = {}
    for split in SPLITS:
        frame = getattr(prepared, split).frame
        for record in frame.drop_duplicates("format").to_dict("records"):
            if str(record["format"]) not in found:
                example = _stored(record)
                found[str(record["format"])] = view(split, example, tokenizer, data)
    return list(found.values())


def _stored(record: Mapping[Hashable, Any]) -> Example:
    return Example(
        row_id=str(record["row_id"]),
        source=str(record["source"]),
        messages=from_json(str(record["messages"])),
        location=str(record["location"]),
        tools=record["tools"],
        extra=record["extra"],
        notes=tuple(note for note in (record["notes"] or "").split() if note in NOTES),
        form=record["format"],
    )


def view(
    split: str, example: Example, tokenizer: PreTrainedTokenizerBase, data: DataConfig
) -> RowView:
    """Render and tokenize one row, and return what is learned of it.

    Args:
        split: the split it belongs to.
        example: the row.
        tokenizer: the model's tokenizer.
        data: how rows become tokens.
    """
    known: dict[str, Any] = {
        "row_id": example.row_id, "split": split, "source": example.source,
        "location": example.location, "format": example.form,
        "columns": tuple(json.loads(example.extra)) if example.extra else (),
    }  # fmt: skip
    renderer = ChatRenderer(tokenizer, learn=data.learn, steps=data.template_steps)
    try:
        rendered = renderer.render(example.messages, tools=example.tools)
        (encoding,) = encode([rendered.text], tokenizer)
        masked = mask(rendered, encoding, tokenizer)
    except RejectedRow as problem:
        why = (problem.reason, problem.detail)
        return RowView(**known, notes=example.notes, reject=why)
    masked.weights_T[:1] = 0  # nothing predicts the first token
    masked.weights_T[data.max_length :] = 0
    reject = None
    if rendered.answers and not masked.weights_T.any():
        reject = ("completion-truncated", REASONS["completion-truncated"])
    tokens = tuple(
        Token(int(index), rendered.text[start:end], float(weight))
        for index, (start, end), weight in zip(
            masked.ids_T, masked.offsets_T2, masked.weights_T, strict=True
        )
    )
    return RowView(
        **known,
        notes=tuple(sorted({*example.notes, *rendered.notes})),
        reject=reject,
        pieces=tuple(_pieces(example, rendered, masked, data.max_length)),
        tokens=tokens,
        cut=max(0, len(tokens) - data.max_length),
    )


def _pieces(
    example: Example, rendered: Rendered, masked: Masked, max_length: int
) -> Iterator[Piece]:
    """Yield the text in stretches with the same turn and weight."""
    ends_T, n = masked.offsets_T2[:, 1], len(masked.ids_T)
    cut_T = np.arange(n) >= max_length
    turns_T = np.full(n, -1)
    for answer in rendered.answers:
        inside = (ends_T > answer.start) & (masked.offsets_T2[:, 0] < answer.end)
        turns_T[inside] = answer.turn
    changes_T = (np.diff(turns_T) != 0) | (np.diff(masked.weights_T) != 0) | np.diff(cut_T)
    edges = [0, *(np.flatnonzero(changes_T) + 1).tolist(), n]
    at = 0
    for first, behind in pairwise(edges):
        if first == behind:
            continue
        to = len(rendered.text) if behind == n else int(ends_T[behind - 1])
        turn = int(turns_T[first])
        yield Piece(
            rendered.text[at:to],
            None if turn < 0 else turn,
            None if turn < 0 else example.messages[turn].role,
            float(masked.weights_T[first]),
            behind - first,
            cut=bool(cut_T[first]),
        )
        at = to


def _names(reject: Reject, row: str) -> bool:
    """Return whether `row` refers to this reject: by `file:line`, or by the id it would have got.

    That id is `source:line`, or `source:file:line` in a source of several files.
    """
    line = reject.location.rpartition(":")[2]
    name, colon, place = row.partition(":")
    called = bool(colon) and name == reject.source
    return _ends(reject.location, row) or (
        called and (place == line or _ends(reject.location, place))
    )


def _ends(location: str, row: str) -> bool:
    """Return whether a location matches what the user wrote: `pool.jsonl:3`, in any folder."""
    return location == row or location.endswith(f"/{row}")
