"""Statistics of the prepared data, as printed by `bids check` and shown in the report."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_core.data.notes import NOTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from bids_core.data.ingest import Account
    from bids_core.data.splits import Split
    from bids_core.records import Reject


def summarise(
    splits: Mapping[str, Split],
    *,
    rejects: Sequence[Reject],
    accounts: Sequence[Account],
    overlap: pd.DataFrame,
    truncated: Mapping[str, int],
    merged: Mapping[str, int],
) -> dict[str, Any]:
    """Return counts and lengths as JSON-serialisable values.

    Args:
        splits: by name.
        rejects: all rejects.
        accounts: the counts of each source's rows.
        overlap: report of `find_overlap`.
        truncated: number of kept rows that were truncated on the right, by split.
        merged: number of kept rows tokenized in two pieces, so that no token spans prompt and
            completion, by split.

    Returns:
        `rows` {split: {total, by_source, by_task, by_capability}}, `rejects` {split: {reason:
        count}}, `reject_total`, `sources` (list of accounts), `tokens` {split: {total, min, median,
        p95, max, completion_total}}, `truncated`, `merged` {split: count}, `notes` {split: {note:
        rows}}, `formats` {split: {format: rows}}, `overlap`, `repeated` {split: {rows: how many
        repeat an earlier row exactly, first: the first of them, as: the row it repeats}}.
    """
    return {
        "rows": {name: _rows(split) for name, split in splits.items()},
        "rejects": {name: _reasons(rejects, name) for name in splits},
        "reject_total": len(rejects),
        "sources": [account.as_dict() for account in accounts],
        "tokens": {name: _tokens(split) for name, split in splits.items()},
        "truncated": dict(truncated),
        "merged": dict(merged),
        "notes": {name: _notes(split) for name, split in splits.items()},
        "formats": {
            name: {str(k): int(v) for k, v in split.frame["format"].value_counts().items()}
            for name, split in splits.items()
        },
        "overlap": _overlap(overlap),
        "repeated": {name: _repeated(split) for name, split in splits.items()},
    }


def most_frequent(rejects: Sequence[Reject]) -> str:
    """Return the most frequent reason for rejects, with an example; empty if none."""
    if not rejects:
        return ""
    reason, count = Counter(reject.reason for reject in rejects).most_common(1)[0]
    first = next(reject for reject in rejects if reject.reason == reason)
    return (
        f"; {len(rejects)} rows were rejected, {count} of them as {reason}, the first at"
        f" {first.location}: {first.detail}"
    )


def _rows(split: Split) -> dict[str, Any]:
    counts = {"total": len(split)}
    by = {
        f"by_{name}": {
            str(k): int(v) for k, v in split.frame[name].value_counts(sort=False).items()
        }
        for name in ("source", "task", "capability")
    }
    return {**counts, **by}


def _reasons(rejects: Sequence[Reject], split: str) -> dict[str, int]:
    counts = Counter(reject.reason for reject in rejects if reject.split == split)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _repeated(split: Split) -> dict[str, Any]:
    """Return how many rows repeat an earlier one, with identical turns and tools."""
    said = split.frame["messages"] + split.frame["tools"].fillna("").astype(str)
    again = said.duplicated()
    if not again.any():
        return {"rows": 0}
    place = int(again.to_numpy().argmax())
    first = int((said == said.iloc[place]).to_numpy().argmax())
    where = split.frame["location"]
    return {"rows": int(again.sum()), "first": where.iloc[place], "as": where.iloc[first]}


def _notes(split: Split) -> dict[str, int]:
    """Return how many rows of a split have each note, in the order of `NOTES`."""
    counts = Counter(note for notes in split.frame["notes"] for note in (notes or "").split())
    return {note: counts[note] for note in NOTES if counts[note]}


def _tokens(split: Split) -> dict[str, int]:
    if not len(split):
        return {"total": 0, "min": 0, "median": 0, "p95": 0, "max": 0, "completion_total": 0}
    lengths = split.frame["n_tokens"].to_numpy(dtype=np.int64)
    return {
        "total": int(lengths.sum()),
        "min": int(lengths.min()),
        "median": round(float(np.median(lengths))),
        "p95": round(float(np.percentile(lengths, 95))),
        "max": int(lengths.max()),
        "completion_total": int(split.frame["n_completion_tokens"].sum()),
    }


def _overlap(overlap: pd.DataFrame) -> dict[str, Any]:
    """Return, by pair of splits, how many rows overlap, by kind, and with which tasks."""
    counts: dict[str, Any] = {}
    for (split, other), pairs in overlap.groupby(["split", "other_split"], sort=False):
        counts[f"{split}/{other}"] = {
            "pairs": len(pairs),
            "rows": int(pairs["row_id"].nunique()),
            "other_rows": int(pairs["other_row_id"].nunique()),
            "by_kind": {str(k): int(v) for k, v in pairs["kind"].value_counts().items()},
            "by_task": {str(k): int(v) for k, v in pairs["task"].value_counts().items()},
        }
    return counts
