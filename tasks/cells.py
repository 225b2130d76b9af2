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
"""Method that keeps the whole pool, as every method does at a budget of all rows."""


class Cell(BaseModel):
    """One method at one budget with one seed, and its results so far."""

    model_config = ConfigDict(frozen=True)

    method: str
    """Name of the selection method, or `zero_shot`."""
    own: str | None = None
    """Location of a user's own method: `methods.py:function`."""
    budget: int | float | None = None
    """The budget as configured; None without training."""
    n_rows: int = 0
    """The budget in rows."""
    seed: int | None = None
    """Seed of the fine-tuning and of random draws; None without training."""
    selection: Handle | None = None
    """The picks."""
    tuned: Handle | None = None
    """The fine-tuned model."""
    scores: Handle | None = None
    """Its evaluation."""
    failed: str | None = None
    """Stage and error, if it failed."""

    @property
    def picked_with(self) -> str:
        """The method, in a form that `bids_core.selection.METHODS` finds."""
        return self.own or self.method

    @property
    def label(self) -> str:
        """Display name."""
        if self.seed is None:
            return self.method
        return f"{self.method} {self.n_rows} rows seed {self.seed}"

    def known(self, **handles: Any) -> Cell:
        """Return a copy with more results."""
        return self.model_copy(update=handles)

    def configure(self, config: RunConfig) -> RunConfig:
        """Return the configuration of this cell; warmup, gradients and attribution stay the same.

        The seed is that of the fine-tuning (order, adapters, dropout) and of random draws.
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
    """Return the cells, seed by seed, so that an interrupted comparison is complete for some seeds.

    At a budget of the whole pool all methods are the same, and `full` is the same at every budget:
    that is one cell per seed.

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
