"""The prepared data: three splits of tokenized rows, the rejects, and a summary."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bids_core.artifacts import LISTED_BYTES, parse_json, read_small_json, read_small_text
from bids_core.data.bounded import read_bounded
from bids_core.data.conversation import from_json, to_json
from bids_core.data.overlap import COLUMNS as OVERLAP_COLUMNS
from bids_core.data.overlap import as_report
from bids_core.errors import ArtifactError, DataError
from bids_core.formatting import brief
from bids_core.records import IGNORED_LABEL, Example, Message, Reject, TokenizedExample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_TEXT: Final = (
    "row_id", "source", "task", "capability", "subtask", "location", "messages", "choices",
    "fields", "tools", "extra", "notes", "format",
)  # fmt: skip
SCHEMA: Final = pa.schema(
    [(name, pa.string()) for name in _TEXT]
    + [("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32()))]
    + [("weights", pa.list_(pa.float32()))]
    + [("n_tokens", pa.int32()), ("n_completion_tokens", pa.int32())]
)
_OPTIONAL: Final = ("tools", "extra", "notes", "format", "weights")
OVERLAP_SCHEMA: Final = pa.schema(
    [(name, pa.float64() if name == "share" else pa.string()) for name in OVERLAP_COLUMNS]
)
_SPLITS: Final = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Tokenized rows, one per row of `frame`.

    Args:
        frame: columns `row_id`, `source`, `task`, `capability`, `subtask`, `location` (text or
            None), `messages` (JSON list of role and content), `choices` (JSON list or None),
            `fields` (JSON of a test row as it is in the file; None elsewhere), `tools` (JSON list
            of schemas or None), `extra` (the row's extra columns, JSON object or None), `notes`
            (codes of `bids_core.data.notes`, separated by spaces, or None), `format` (in which the
            row was read), `input_ids` and `labels` (int32 arrays), `weights` (float32 array, or
            None if all labels have equal weight), `n_tokens`, `n_completion_tokens` (labels that
            are not `IGNORED_LABEL`).
    """

    frame: pd.DataFrame

    @classmethod
    def of(
        cls,
        examples: Sequence[Example],
        tokens: Sequence[TokenizedExample],
        notes: Sequence[tuple[str, ...]] | None = None,
    ) -> Split:
        """Make a split from examples, their tokens and their notes, all in the same order."""
        said = [e.notes for e in examples] if notes is None else notes
        rows = [_row(e, t, n) for e, t, n in zip(examples, tokens, said, strict=True)]
        return cls(_typed(pd.DataFrame(rows, columns=SCHEMA.names)))

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def row_ids(self) -> list[str]:
        """Row ids, in order."""
        return [str(row_id) for row_id in self.frame["row_id"]]

    def examples(self) -> list[TokenizedExample]:
        """Return what the model sees of each row, in order."""
        frame = _whole(self.frame)
        columns = (frame[name] for name in ("row_id", "input_ids", "labels", "weights"))
        return [TokenizedExample(*values) for values in zip(*columns, strict=True)]

    def part(self, start: int, stop: int) -> Split:
        """Return rows `start:stop`, at the cost of only these rows."""
        return Split(self.frame.iloc[start:stop])

    def texts(self) -> list[str]:
        """Return each row's text: contents, reasoning and tool calls, separated by line breaks."""
        return [
            "\n".join(part for message in from_json(messages) for part in _said(message))
            for messages in self.frame["messages"]
        ]

    def without(self, row_ids: set[str]) -> Split:
        """Return the split without the given rows."""
        kept = self.frame[~self.frame["row_id"].isin(list(row_ids))]
        return Split(kept.reset_index(drop=True))

    def save(self, path: Path) -> None:
        """Write it as Parquet."""
        table = pa.Table.from_pandas(_whole(self.frame), schema=SCHEMA, preserve_index=False)
        pq.write_table(table.replace_schema_metadata(), path, compression="zstd")

    @classmethod
    def load(cls, path: Path) -> Split:
        """Read what `save` wrote."""
        return cls(_typed(read_bounded(path, SCHEMA).to_pandas()))


@dataclass(frozen=True)
class PreparedData:
    """The result of "prepare".

    Args:
        train: the pool.
        validation: instances of all tasks.
        test: rows of all test tasks; may be empty.
        rejects: rejected rows, in reading order.
        overlap: see `bids_core.data.overlap`.
        summary: counts and lengths, JSON-serialisable; see `bids_core.data.summary`.
    """

    train: Split
    validation: Split
    test: Split
    rejects: list[Reject] = field(default_factory=list)
    overlap: pd.DataFrame = field(default_factory=as_report)
    summary: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write `train|validation|test|overlap.parquet`, `rejects.jsonl` and `summary.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in _SPLITS:
            getattr(self, name).save(folder / f"{name}.parquet")
        lines = (json.dumps(asdict(reject)) + "\n" for reject in self.rejects)
        (folder / "rejects.jsonl").write_text("".join(lines), encoding="utf-8")
        table = pa.Table.from_pandas(self.overlap, schema=OVERLAP_SCHEMA, preserve_index=False)
        pq.write_table(table.replace_schema_metadata(), folder / "overlap.parquet")
        text = json.dumps(self.summary, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / "summary.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> PreparedData:
        """Read what `save` wrote.

        Raises:
            ArtifactError: the folder does not hold prepared data.
        """
        try:
            lines = read_small_text(folder / "rejects.jsonl", most=LISTED_BYTES).splitlines()
            train, validation, test = (Split.load(folder / f"{name}.parquet") for name in _SPLITS)
            return cls(
                train,
                validation,
                test,
                rejects=[Reject(**parse_json(line)) for line in lines],
                overlap=as_report(
                    read_bounded(folder / "overlap.parquet", OVERLAP_SCHEMA)
                    .to_pandas()
                    .to_numpy()
                    .tolist()
                ),
                summary=read_small_json(folder / "summary.json"),
            )
        except (OSError, ValueError, TypeError, pa.ArrowException, DataError) as error:
            msg = f"{folder} does not hold prepared data ({brief(error)}); prepare it again"
            raise ArtifactError(msg) from error


def _said(message: Message) -> list[str]:
    calls = [f"{call.name} {call.arguments}" for call in message.tool_calls]
    return [*([message.reasoning] if message.reasoning else []), message.content, *calls]


def _row(example: Example, tokens: TokenizedExample, notes: tuple[str, ...]) -> tuple[Any, ...]:
    choices = example.choices
    return (
        example.row_id, example.source, example.task, example.capability, example.subtask,
        example.location, to_json(example.messages),
        None if choices is None else json.dumps(choices, ensure_ascii=False), example.fields,
        example.tools, example.extra, " ".join(notes) or None, example.form,
        tokens.input_ids, tokens.labels, tokens.weights, tokens.n_tokens,
        int(np.count_nonzero(tokens.labels != IGNORED_LABEL)),
    )  # fmt: skip


def _whole(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the columns that a frame made by hand may omit."""
    lacking = [name for name in _OPTIONAL if name not in frame.columns]
    return frame.assign(**dict.fromkeys(lacking)) if lacking else frame


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Give all columns the same dtypes whether they were just made or read back."""
    for name in (*_TEXT, "weights"):
        column = frame[name].astype("object")
        frame[name] = column.where(column.notna(), None)
    for name in ("n_tokens", "n_completion_tokens"):
        frame[name] = frame[name].astype("int32")
    return frame
