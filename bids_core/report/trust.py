"""The numbers of the section on whether influence can be trusted, if that was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bids_core.diagnostics.trust import STEPS
from bids_core.formatting import number
from bids_core.report.section import Section

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bids_core.report.inputs import ReportInputs

_ROWS: Final = {"validation": "validation instances", "test": "test rows"}


def trust_section(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return what the section shows, None if `bids validate` did not run."""
    found = inputs.validation
    if found is None:
        return None
    steps = found["steps"]
    enough = len(steps["words"]) > 1
    subsets = found.get("subsets", {})
    return {
        "words": steps["words"],
        "n_rows": steps["n_rows"],
        "checkpoint": steps["checkpoint"],
        "lines": [
            {"name": STEPS[name], **_shown(value), "cost": _shown(steps["costs"].get(name, {}))}
            for name, value in steps["correlations"].items()
            if enough
        ],
        "tasks": [{"name": n, **_shown(v)} for n, v in steps["tasks"].items() if enough],
        "subsets": [
            {"rows": label, "words": subsets[split]["words"]}
            for split, label in _ROWS.items()
            if split in subsets
        ],
    }


SECTION: Final = Section("trust", "Trust", 52, trust_section)


def _shown(estimate: Mapping[str, float | None]) -> dict[str, str]:
    value, low, high = (
        float("nan") if estimate.get(name) is None else float(estimate[name] or 0.0)
        for name in ("value", "low", "high")
    )
    interval = "" if low != low else f"{number(low, 2)} to {number(high, 2)}"
    return {"value": number(value, 2), "interval": interval}
