"""Which rows to keep, and what is looked into beside it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from bids_core.config.effects import Changes, Effect, InPlaceOf, NoEffect
from bids_core.config.section import Budget, Section

SelectionMethod = Literal[
    "bids", "instance_max", "less", "task_max", "sum", "round_robin", "round_robin_tasks", "quota",
    "knn_uniform", "optimal_transport", "random", "random_balanced", "full", "bm25", "dsir", "rds",
    "rds_plus", "perplexity", "perplexity_low", "perplexity_high",
]  # fmt: skip
Normalization = Literal["zscore", "minmax", "robust", "rank", "none"]


class SelectionConfig(Section):
    """Which rows to keep."""

    effects: ClassVar[tuple[Effect, ...]] = (Changes("selection", "analysis"),)

    method: SelectionMethod = "bids"
    """Selection method."""
    compare: Annotated[
        tuple[SelectionMethod, ...], NoEffect("which methods select, not what each selects")
    ] = ("less", "random")
    """Further methods, selected, fine-tuned and evaluated beside it at the same budget."""
    budget: Budget = 0.15
    """Number of examples (500), or fraction of the pool (0.15 or 15%, up to 1.0)."""
    normalization: Normalization = "zscore"
    """Per-column normalisation that BIDS and instance_max use."""
    seed: Annotated[int | None, InPlaceOf("seed", "selection")] = None
    """Seed of the methods that draw at random; null: the run's."""

    @property
    def methods(self) -> tuple[SelectionMethod, ...]:
        """All methods to run, the main one first, each once."""
        return tuple(dict.fromkeys((self.method, *self.compare)))


class AnalysisConfig(Section):
    """What is looked into beside the selections."""

    effects: ClassVar[tuple[Effect, ...]] = (Changes("analysis"),)

    leave_out: tuple[Literal["checkpoint", "task", "instance"], ...] = (
        "checkpoint",
        "task",
        "instance",
    )
    """Select again with each checkpoint, task or validation instance left out, to see how much the
    main method's picks hang on it."""
