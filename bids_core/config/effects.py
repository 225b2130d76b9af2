"""What each configuration field can change, declared at the field; identities follow from it.

A result is stored under a name derived from everything that can change it
(`bids_core.artifacts.identity`). Each field declares this itself:

- `Changes("warmup")`: its value enters the identity of that stage; with `when`, only where it
  matters (the mode of Adam's update, where the feature is Adam's).
- `Resolved("warmup", by="the digest of the files")`: not the value enters, but what it resolves to.
- `InPlaceOf("seed", "finetune")`: for these stages, it replaces another field and enters as that.
- `NoEffect("only the speed")`: it enters no identity, and says why.

A section's `effects` apply to its fields without an annotation. `bids_core.config.slices` uses
these declarations to extract a stage's values from a configuration.
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
    """Whether it matters, given the field's section."""

    def __init__(self, *stages: str, when: Callable[[Any], bool] | None = None) -> None:
        object.__setattr__(self, "stages", stages)
        object.__setattr__(self, "when", when)


@dataclass(frozen=True)
class Resolved:
    """What the field's value resolves to is part of the identity of these stages."""

    stages: tuple[str, ...]
    by: str
    """What enters instead, in words."""

    def __init__(self, *stages: str, by: str) -> None:
        object.__setattr__(self, "stages", stages)
        object.__setattr__(self, "by", by)


@dataclass(frozen=True)
class InPlaceOf:
    """The field replaces another one (given by dotted path) for these stages."""

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
    """Return all stages whose results change if those of the given stages change, in order.

    Args:
        stages: stages whose results change.
        split: the split whose rows change, if only one split of the prepared data does.
    """
    changed = set(stages)
    if "prepare" in changed:
        changed |= {stage for name in (ROWS if split is None else (split,)) for stage in ROWS[name]}
    for stage, read in STAGES.items():  # in pipeline order
        if changed & set(read):
            changed.add(stage)
    return tuple(stage for stage in STAGES if stage in changed)
