"""The ablation -Norm of BIDS as a user's own method, for comparison with the others."""

from __future__ import annotations

from bids_core.selection import Picks, Request, select, selection_method


@selection_method(what="BIDS's loop on raw influence (-Norm)", label="BIDS -Norm")
def bids_raw(request: Request) -> Picks:
    """Select with BIDS on the raw matrix, not normalised per column."""
    found = select(request.matrix, request.budget, method="bids", normalization="none")
    return Picks(found.indices, found.utilities, found.winning_columns)
