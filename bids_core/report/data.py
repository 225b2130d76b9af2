"""The numbers of the data section: rows, rejects with examples, overlap, token lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bids_core.data.rejects import REASONS
from bids_core.report.section import Section
from bids_core.report.texts import cut

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bids_core.report.inputs import ReportInputs

SPLITS: Final = {
    "train": "training pool",
    "validation": "validation instances",
    "test": "test rows",
}
_EXAMPLES: Final = 3
"""Rejected rows shown for each reason."""


def data_section(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return what the data section shows; None if the report is of a matrix alone."""
    if not inputs.model:
        return None
    summary = inputs.data
    rows, tokens = summary.get("rows", {}), summary.get("tokens", {})
    return {
        "splits": [
            {
                "name": label,
                "total": rows[split]["total"],
                "tokens": tokens.get(split, {}),
                "truncated": summary.get("truncated", {}).get(split, 0),
            }
            for split, label in SPLITS.items()
            if rows.get(split, {}).get("total")
        ],
        "sources": [
            {**source, "label": SPLITS.get(source["split"], source["split"])}
            for source in summary.get("sources", ())
        ],
        "rejects": _rejects(inputs.rejects),
        "reject_total": len(inputs.rejects),
        "overlap": _overlap(summary.get("overlap", {})),
        "overlap_policy": inputs.config.get("data", {}).get("overlap"),
    }


def _rejects(rejects: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the reasons, most frequent first, each with a few example rows."""
    by_reason: dict[str, list[Mapping[str, Any]]] = {}
    for reject in rejects:
        by_reason.setdefault(str(reject["reason"]), []).append(reject)
    return [
        {
            "reason": reason,
            "meaning": REASONS.get(reason, "").replace("`", ""),
            "count": len(found),
            "examples": [
                {"location": str(row["location"]), "detail": cut(str(row["detail"]), 300)}
                for row in found[:_EXAMPLES]
            ],
        }
        for reason, found in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def _overlap(overlap: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for pair, counts in overlap.items():
        split, _, other = pair.partition("/")
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts["by_kind"].items())
        of_tasks = ", ".join(f"{task} ({count})" for task, count in counts["by_task"].items())
        found.append(
            {
                "split": SPLITS.get(split, split),
                "other": SPLITS.get(other, other),
                "rows": counts["rows"],
                "other_rows": counts["other_rows"],
                "kinds": kinds,
                "tasks": of_tasks,
            }
        )
    return found


SECTION: Final = Section("data", "Data", 70, data_section)
