"""Diagnostics: what a pool and a selection influence, and whether to trust the selection."""

from __future__ import annotations

from bids_core.diagnostics.influence import (
    average_influence_distribution,
    task_highest_influence,
)

__all__ = ["average_influence_distribution", "task_highest_influence"]
