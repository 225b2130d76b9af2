"""The cells of a comparison: one method at one budget with one seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict

from bids_core.artifacts import Handle
from bids_core.own_code import is_own
from bids_core.selection.names import ZERO_SHOT, method_name
from bids_core.selection.request import resolve_budget

if TYPE_CHECKING:
    from bids_core.config import RunConfig

FULL: Final = "full"
"""Method that keeps the whole pool; every method does at a budget of all rows."""


class Cell(BaseModel):
    """One method at one budget with one seed, and how far it got."""

    model_config = ConfigDict(frozen=True)

    method: str
    """Name of the selection method, or `zero_shot`."""
    own: str | None = None
    """Where the method lies, if it is the user's own: `methods.py:function`."""
    budget: int | float | None = None
    """As asked for; None without training."""
    n_rows: int = 0
    """Rows that the budget comes to."""
    seed: int | None = None
    """Of the fine-tuning and of random draws; None without training."""
    selection: Handle | None = None
    """The picks."""
    tuned: Handle | None = None
    """The fine-tuned model."""
    scores: Handle | None = None
    """Its evaluation."""
    failed: str | None = None
    """Stage and error, where it failed."""

    @property
    def picked_with(self) -> str:
        """The method as `bids_core.selection.METHODS` finds it."""
        return self.own or self.method

    @property
    def label(self) -> str:
        """Name for people."""
        if self.seed is None:
            return self.method
        return f"{self.method} {self.n_rows} rows seed {self.seed}"

    def known(self, **handles: Any) -> Cell:
        """Return a copy that knows more."""
        return self.model_copy(update=handles)

    def configure(self, config: RunConfig) -> RunConfig:
        """Return the configuration of this cell; warmup, gradients and attribution stay the same.

        The seed means the fine-tuning's (order, adapters, dropout) and that of random draws.
        """
        if self.budget is None:
            return config
        selection = config.selection.model_copy(update={"budget": self.budget, "seed": self.seed})
        finetune = config.finetune.model_copy(update={"seed": self.seed})
        return config.model_copy(update={"selection": selection, "finetune": finetune})


def plan_cells(
    methods: Sequence[str],
    budgets: Sequence[int | float],
    seeds: Sequence[int],
    *,
    n_pool: int,
    zero_shot: bool,
) -> list[Cell]:
    """Return the cells: seed by seed, so that a comparison cut short is whole for some seeds.

    All methods are the same at a budget of the whole pool, and `full` at every budget: that is one
    cell a seed.

    Raises:
        MatrixError: a budget is not within the pool.
    """
    counts = {resolve_budget(budget, n_pool): budget for budget in reversed(budgets)}
    ordered = sorted(counts)
    whole = FULL in methods or n_pool in counts
    cells = [Cell(method=ZERO_SHOT)] if zero_shot else []
    for seed in dict.fromkeys(seeds):
        cells += [
            Cell(
                method=method_name(method),
                own=method if is_own(method) else None,
                budget=counts[count],
                n_rows=count,
                seed=seed,
            )
            for count in ordered
            if count < n_pool
            for method in dict.fromkeys(methods)
            if method != FULL
        ]
        if whole:
            cells.append(Cell(method=FULL, budget=1.0, n_rows=n_pool, seed=seed))
    return cells
