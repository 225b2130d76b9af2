"""What an audit says, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_core.diagnostics.audit import NEAR_MISS
from bids_core.diagnostics.harmful import HARM_THRESHOLD

if TYPE_CHECKING:
    from bids_core.diagnostics.audit import Audit


def audit_words(found: Audit) -> list[str]:
    """Say what was found and how far to trust it, for people."""
    harmful = sum(count for name, count in found.counts.items() if name != NEAR_MISS)
    if not harmful:
        return ["No row stands out as harmful to the tasks."]
    said = [f"{harmful:,} of {found.n_rows:,} rows stand out as harmful."]
    if found.picked is not None:
        inside = sum(count for name, count in found.picked.items() if name != NEAR_MISS)
        said.append(f"{inside:,} of them are among the picks.")
    said.append(
        "Harm is in standard deviations of the pool: how far a row's mean influence on a task lies "
        f"below the average row's, averaged over the tasks ({HARM_THRESHOLD:g} or more on a task "
        "counts as harm to it). Best for and worst for show the same scale for one task."
    )
    said.append(
        "This is relative to the pool: a pool without a bad row has its least useful ones too. A "
        "wrong answer shows where the model can do the task, and not where it cannot, so read the "
        "rows before dropping them."
    )
    if found.n_tasks == 1:
        said.append(
            "There is only one task, so rows that help one task and harm another cannot be found."
        )
    return said
