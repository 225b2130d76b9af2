"""The budget of a configuration, against the pool it is spent on."""

from __future__ import annotations

from bids_core.errors import ConfigError, MatrixError
from bids_core.selection.request import resolve_budget


def planned_picks(budget: int | float, n_pool: int) -> int:
    """Return how many rows will be selected; refuses a wrong budget before anything costly starts.

    Raises:
        ConfigError: the budget is beyond the pool, or less than one of its rows.
    """
    try:
        return resolve_budget(budget, n_pool)
    except MatrixError as error:
        msg = (
            f"selection.budget: {error}; the pool has {n_pool} usable rows: change the budget or "
            "add data"
        )
        raise ConfigError(msg) from error
