"""Budgets from the command line, checked against the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_core.config.budget import parse_budget
from bids_core.errors import ConfigError, MatrixError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.config import RunConfig
    from bids_core.data import PreparedData


def budget_option(text: str, *, option: str = "--budget") -> int | float:
    """Return a count for `500`, a fraction for `0.15` or `15%`.

    Raises:
        UserError: it is none of these; the message names the option.
    """
    try:
        budget: int | float = parse_budget(text)
    except ValueError as error:
        msg = f"{option}: {error}"
        raise UserError(msg) from error
    return budget


def planned_picks(budget: int | float, n_pool: int) -> int:
    """Return how many rows will be selected; refuse an invalid budget before any costly work.

    Raises:
        ConfigError: the budget is beyond the pool, or less than one of its rows.
    """
    from bids_core.selection.request import resolve_budget

    try:
        return resolve_budget(budget, n_pool)
    except MatrixError as error:
        if budget > n_pool:
            msg = (
                f"selection.budget: {budget} is more than the {n_pool} usable rows of the pool; "
                "lower the budget or add data"
            )
        else:
            msg = (
                f"selection.budget: {error}; the pool has {n_pool} usable rows: raise the budget "
                "or add data"
            )
        raise ConfigError(msg) from error


def require_room(config: RunConfig, picks: int, n_pool: int) -> None:
    """Refuse a screen that keeps fewer rows than the budget selects.

    Raises:
        ConfigError: it does; the message says what to increase.
    """
    from bids_core.selection.request import resolve_budget

    if config.screen.by is None:
        return
    kept = resolve_budget(config.screen.keep, n_pool)
    if picks > kept:
        msg = (
            f"screen.keep: {config.screen.keep:g} of {n_pool:,} rows are {kept:,}, fewer than the "
            f"{picks:,} to select; raise it, or lower the budget"
        )
        raise ConfigError(msg)


def check_methods(config: RunConfig, data: PreparedData, methods: Sequence[str]) -> None:
    """Check, before anything is computed, that the user's own methods work.

    Raises:
        UserError: one is missing, raises, or returns something else.
    """
    from bids_core.selection.checking import try_methods

    section = config.selection
    try_methods(methods, data, section.budget, normalization=section.normalization)
