"""The effect of a run's shortcut, for report, manifest and log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bids_core.config.screen import LANDMARKS
from bids_core.diagnostics.screening import Inferred, Screened
from bids_core.influence.stored import open_attribution
from bids_core.selection.names import method_label
from tasks.attribution import MATRIX
from tasks.screen import KEPT, screened_rows
from tasks.selection import read_selection

if TYPE_CHECKING:
    from bids_core.artifacts import Handle
    from bids_core.config import RunConfig
    from tasks.run_result import RunResult


def screen_facts(config: RunConfig, result: RunResult) -> dict[str, Any] | None:
    """Return what happened to the rows without gradients; None if all had them."""
    main = result.selections.get(config.selection.main)
    if result.screen is None or result.matrix is None or main is None:
        return None
    picked = set(read_selection(main)["row_id"])
    if config.screen.by is None:
        return _inferred(result.matrix, picked)
    rows = screened_rows(result.screen)
    sampled = rows.loc[rows["why"] != KEPT, "row_id"]
    by = config.screen.by
    found = Screened.of(
        by="the influence inferred from landmarks" if by == LANDMARKS else method_label(by),
        pool_rows=int(result.screen.summary()["pool_rows"]),
        kept=len(rows) - len(sampled),
        sampled=len(sampled),
        sampled_picked=int(sampled.isin(list(picked)).sum()),
        picks=len(picked),
    )
    return found.to_dict()


def _inferred(matrix: Handle, picked: set[str]) -> dict[str, Any]:
    """Return to what extent the picks rest on inferred influence."""
    attribution, summary = open_attribution(matrix.path() / MATRIX), matrix.summary()
    error = attribution.expected_error
    assert error is not None  # noqa: S101 - an inferred matrix has it
    chosen = np.array([row_id in picked for row_id in attribution.row_ids])
    found = Inferred.of(error, chosen, agreement=summary["agreement"])
    return found.to_dict() | {"agreement_by_task": summary["agreement_by_task"]}
