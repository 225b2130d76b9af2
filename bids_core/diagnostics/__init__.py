"""Diagnostics: what a pool and a selection influence, and whether to trust the selection.

Read in this order: `influence` (AID, THI), `columns` (their shapes), `picks` (along the pick
order, overlap, near-duplicates), `stability` (leave one out, agreement of checkpoints),
`analysis` (all of it at once), `plots` (figures).
"""

from __future__ import annotations

from bids_core.diagnostics.influence import (
    aid_imbalance,
    aid_table,
    average_influence_distribution,
    task_highest_influence,
)

__all__ = [
    "aid_imbalance",
    "aid_table",
    "average_influence_distribution",
    "task_highest_influence",
]
