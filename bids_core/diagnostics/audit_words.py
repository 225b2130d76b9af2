"""The results of an audit, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_core.diagnostics.audit import NEAR_MISS
from bids_core.diagnostics.harmful import HARM_THRESHOLD

if TYPE_CHECKING:
    from bids_core.diagnostics.audit import Audit


def audit_words(found: Audit) -> list[str]:
    """Return sentences on what was found and how far to trust it."""
    harmful = sum(count for name, count in found.counts.items() if name != NEAR_MISS)
    if not harmful:
        return ["No row stands out as harmful to the tasks."]
    said = [f"{harmful:,} of {found.n_rows:,} rows stand out as harmful."]
    if found.picked is not None:
        inside = sum(count for name, count in found.picked.items() if name != NEAR_MISS)
        said.append(f"{inside:,} of them are among the picks.")
    said.append(
        "Harm is how far a row's mean influence on a task lies below the average row's, in "
        f"standard deviations of the pool, averaged over the tasks (more than {HARM_THRESHOLD:g} "
        "on a task counts as harm to it). `Best for` and `worst for` use the same scale "
        "for one task."
    )
    said.append(
        "This is relative to the pool: even a pool without bad rows has least useful ones. A "
        "wrong answer shows only on tasks that the model can partly do, so read the rows "
        "before you drop them."
    )
    if found.n_tasks == 1:
        said.append(
            "There is only one task, so rows that help one task and harm another cannot be found."
        )
    return said
