"""What a configuration field can change, declared at the field; identities are derived from it.

A result is stored under a name made of all that can change it (`bids_core.artifacts.identity`).
Each field declares this itself:

- `Changes("warmup")`: its value enters the identity of that stage; with `when`, only where it
  matters (the mode of Adam's update, where the feature is Adam's).
- `Resolved("warmup", "the digest of the files")`: what the value stands for enters, not the value.
- `InPlaceOf("seed")`: it takes the place of another field, whose value then enters.
- `NoEffect("only the speed")`: it enters no identity; says why.

A section declares in `effects` what holds for its fields without an annotation.
`bids_core.config.slices` takes a stage's values out of a configuration by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

STAGES: Final = {
    "prepare": (),
    "warmup": (),
    "representations": (),
    "screen": ("representations",),
    "curvature": ("warmup", "screen"),
    "gradients": ("warmup", "curvature", "screen"),
    "attribution": ("gradients",),
    "inference": ("attribution", "representations"),
    "selection": ("attribution", "representations", "inference"),
    "analysis": ("selection",),
    "finetune": ("selection",),
    "suite": ("finetune",),
    "evaluation": ("finetune", "suite"),
    "steps": ("warmup",),
    "losses": ("finetune",),
}
"""Stages whose results are stored, with the stages whose results they read; the last two are those
of `bids validate`."""
ROWS: Final = {
    "pool": (
        "warmup",
        "screen",
        "curvature",
        "gradients",
        "representations",
        "selection",
        "finetune",
        "steps",
    ),
    "validation": (
        "screen",
        "gradients",
        "representations",
        "selection",
        "suite",
        "steps",
        "losses",
    ),
    "test": ("evaluation", "losses"),
}
"""Splits of the prepared data, with the stages that read their rows (by content)."""


@dataclass(frozen=True)
class Changes:
    """The field's value is part of the identity of these stages."""

    stages: tuple[str, ...]
    when: Callable[[Any], bool] | None = None
    """Whether it matters, given the section that the field is in."""

    def __init__(self, *stages: str, when: Callable[[Any], bool] | None = None) -> None:
        object.__setattr__(self, "stages", stages)
        object.__setattr__(self, "when", when)


@dataclass(frozen=True)
class Resolved:
    """What the field's value stands for is part of the identity of these stages."""

    stages: tuple[str, ...]
    by: str
    """What enters in its place, in words."""

    def __init__(self, *stages: str, by: str) -> None:
        object.__setattr__(self, "stages", stages)
        object.__setattr__(self, "by", by)


@dataclass(frozen=True)
class InPlaceOf:
    """The field takes the place of another one (a dotted path), for these stages."""

    field: str
    stages: tuple[str, ...]

    def __init__(self, field: str, *stages: str) -> None:
        object.__setattr__(self, "field", field)
        object.__setattr__(self, "stages", stages)


@dataclass(frozen=True)
class NoEffect:
    """The field cannot change a result."""

    reason: str

    @property
    def stages(self) -> tuple[str, ...]:
        """None."""
        return ()


Effect: TypeAlias = Changes | Resolved | InPlaceOf | NoEffect


def recomputed(stages: tuple[str, ...], *, split: str | None = None) -> tuple[str, ...]:
    """Return the stages whose results change when those of some stages do, in order.

    Args:
        stages: whose results change.
        split: where it is only the rows of one split that the prepared data has otherwise.
    """
    changed = set(stages)
    if "prepare" in changed:
        changed |= {stage for name in (ROWS if split is None else (split,)) for stage in ROWS[name]}
    for stage, read in STAGES.items():  # in the order of the pipeline
        if changed & set(read):
            changed.add(stage)
    return tuple(stage for stage in STAGES if stage in changed)
