"""Which rows to keep, and which analyses to add."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import model_validator

from bids_core.config.choices import Normalization, SelectionMethod, SelectionMethods
from bids_core.config.effects import Changes, Effect, InPlaceOf, NoEffect, Resolved
from bids_core.config.section import Budget, Section, Seed
from bids_core.own_code import function_name


class SelectionConfig(Section):
    """Which rows to keep."""

    effects: ClassVar[tuple[Effect, ...]] = (Changes("selection", "analysis"),)

    method: Annotated[
        SelectionMethod,
        Resolved("selection", "analysis", by="its name, and the digest of your own code"),
    ] = "bids"
    """Selection method, or a function of your own: `package.module:function`, or
    `methods.py:function` with a path relative to the config file (docs/extend.md)."""
    compare: Annotated[
        SelectionMethods, NoEffect("which methods select, not what each selects")
    ] = ("less", "random")
    """Further methods to compare with: each selects at the same budget, is fine-tuned on and
    evaluated."""
    budget: Budget = 0.15
    """Number of examples (500), or fraction of the pool (0.15 or 15%, up to 1.0)."""
    normalization: Normalization = "zscore"
    """Normalisation per column, for the methods that use one (`bids`, `bids_cautious`,
    `instance_max`)."""
    seed: Annotated[Seed | None, InPlaceOf("seed", "selection")] = None
    """Seed of the random methods; null: the run's."""

    @property
    def methods(self) -> tuple[str, ...]:
        """All methods to run, the main one first, without duplicates."""
        return tuple(dict.fromkeys((self.method, *self.compare)))

    @property
    def main(self) -> str:
        """The main method's name in results: its own, or that of its function."""
        return function_name(self.method)

    @model_validator(mode="after")
    def _each_method_has_a_name_of_its_own(self) -> SelectionConfig:
        distinct_names(self.methods)
        return self


def distinct_names(methods: Iterable[str]) -> None:
    """Reject methods that would have the same name in tables and files.

    Raises:
        ValueError: two different methods share a name.
    """
    seen: dict[str, str] = {}
    for method in methods:
        other = seen.setdefault(function_name(method), method)
        if other != method:
            msg = (
                f"the methods {other} and {method} are both called {function_name(method)!r}; "
                "rename one of the functions"
            )
            raise ValueError(msg)


class AnalysisConfig(Section):
    """Analyses in addition to the selections."""

    effects: ClassVar[tuple[Effect, ...]] = (Changes("analysis"),)

    leave_out: tuple[Literal["checkpoint", "task", "instance"], ...] = (
        "checkpoint",
        "task",
        "instance",
    )
    """Select again with each checkpoint, task or validation instance left out in turn, to see how
    much the main method's picks depend on it."""
