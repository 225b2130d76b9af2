"""Rows that get no gradients: cheaper ways to an influence matrix (docs/cheaper.md)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, TypeAlias

from pydantic import Field, model_validator

from bids_core.config.choices import OneOf
from bids_core.config.effects import Changes, Effect
from bids_core.config.section import Fraction, PositiveInt, Section

LANDMARKS: Final = "landmarks"
"""Screen by the influence that is inferred from landmarks."""
SIGNALS = OneOf("bids_core.selection:METHODS", more=(LANDMARKS,))

Signal: TypeAlias = Annotated[str, SIGNALS]


def _on(section: Any) -> bool:
    return section.by is not None


def _draws(section: Any) -> bool:
    return section.by not in (None, LANDMARKS)


class ScreenConfig(Section):
    """Which rows get gradients, if not all do: those that a cheap method picks first."""

    effects: ClassVar[tuple[Effect, ...]] = (Changes("screen", when=_on),)

    by: Signal | None = None
    """Method that picks the rows that get gradients: either one that needs no influence
    (`rds_plus`, `bm25`, ...), or `landmarks`, which is BIDS on the influence inferred from
    `landmarks.rows`. null: every row of the pool gets them."""
    keep: Fraction = 0.3
    """Share of the pool to keep."""
    sample: Annotated[PositiveInt, Changes("screen", when=_draws)] = 128
    """Number of random rows that always get gradients, so that the report can estimate how many
    good rows were screened out. With `landmarks`, the landmarks are this sample."""

    @model_validator(mode="after")
    def _cheap(self) -> ScreenConfig:
        if self.by is None or self.by == LANDMARKS:
            return self
        cheap = [name for name, method in SIGNALS.entries.items() if is_signal(method)]
        if self.by not in cheap:
            method = SIGNALS.entries[self.by]
            why = "ignores the rows" if method.needs == "nothing" else "needs the influence itself"
            msg = f"by: {self.by} {why}; screen by {', '.join(cheap)} or {LANDMARKS}"
            raise ValueError(msg)
        return self


def is_signal(method: Any) -> bool:
    """Return whether a selection method uses the rows but needs no influence."""
    return method.needs not in ("influence", "nothing")


class LandmarkConfig(Section):
    """Rows whose influence is computed, to infer that of all others from hidden states."""

    effects: ClassVar[tuple[Effect, ...]] = (Changes("screen"),)

    rows: Annotated[
        PositiveInt | None,
        Changes("screen", when=lambda section: section.rows is not None),
    ] = Field(default=None)
    """Number of random rows of the pool that get gradients; every other row takes the influence of
    the one with the nearest hidden states, with an expected error. Use it alone, or with
    `screen.by: landmarks`. null: nothing is inferred."""
