"""What a field of the configuration can change, said at the field; identities are derived from it.

A result is stored under a name made of all that can change it (`bids_core.artifacts.identity`).
Which fields those are is said where the field is:

- `Changes("warmup")`: its value enters the identity of that stage; with `when`, only where it
  matters (the mode of Adam's update, where the feature is Adam's).
- `Resolved("warmup", "the digest of the files")`: what the value stands for enters, not the value.
- `InPlaceOf("seed")`: it takes the place of another field, whose value then enters.
- `NoEffect("only the speed")`: it enters no identity; says why.

A section says in `effects` what holds for its fields that say nothing. `without_effect` finds the
fields for which neither says anything; a test holds that there are none, and another that changing
a field changes the identities of the stages that it names and of no others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, get_args

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic.fields import FieldInfo

    from bids_core.config.section import Section

STAGES: Final = {
    "prepare": (),
    "warmup": (),
    "curvature": ("warmup",),
    "gradients": ("warmup", "curvature"),
    "attribution": ("gradients",),
    "representations": (),
    "selection": ("attribution", "representations"),
    "analysis": ("selection",),
    "finetune": ("selection",),
    "suite": ("finetune",),
    "evaluation": ("finetune", "suite"),
}
"""Stages whose results are stored, with the stages whose results they read."""
ROWS: Final = {
    "pool": ("warmup", "curvature", "gradients", "representations", "selection", "finetune"),
    "validation": ("gradients", "representations", "selection", "suite"),
    "test": ("evaluation",),
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
    """What enters in its stead, in words."""

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


def effects_of(section: type[Section], name: str) -> tuple[Effect, ...]:
    """Return what a field can change: what is said at it, else what its section says."""
    said = tuple(item for item in section.model_fields[name].metadata if isinstance(item, Effect))
    return said or section.effects


def sliced(section: Section, stage: str) -> dict[str, Any]:
    """Return the values that can change a stage's result, as JSON; sections without any left out.

    Args:
        section: a configuration, or a section of one.
        stage: name of the stage, one of `STAGES`.

    Raises:
        KeyError: there is no such stage.
    """
    STAGES[stage]
    found: dict[str, Any] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if any(isinstance(effect, InPlaceOf) for effect in effects_of(type(section), name)):
            continue  # who uses it puts it in the other field's place first
        parts = value if isinstance(value, tuple) else (value,)
        if parts and all(_is_section(part) for part in parts):
            inner = [sliced(part, stage) for part in parts]
            if any(inner):
                found[name] = inner if isinstance(value, tuple) else inner[0]
        elif _counts(section, name, stage):
            found[name] = section.model_dump(mode="json", include={name})[name]
    return found


def _counts(section: Section, name: str, stage: str) -> bool:
    return any(
        isinstance(effect, Changes)
        and stage in effect.stages
        and (effect.when is None or effect.when(section))
        for effect in effects_of(type(section), name)
    )


def walk(section: type[Section], prefix: str = "") -> Iterator[tuple[str, type[Section], str]]:
    """Yield each field that is not a section itself: dotted path, its section, its name."""
    for name, info in section.model_fields.items():
        inner = _section_in(info)
        if inner is None:
            yield f"{prefix}{name}", section, name
        else:
            yield from walk(inner, f"{prefix}{name}.")


def without_effect(section: type[Section]) -> list[str]:
    """Return the fields of which nothing says what they can change."""
    return [path for path, owner, name in walk(section) if not effects_of(owner, name)]


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


def _section_in(info: FieldInfo) -> type[Section] | None:
    """Return the section that a field holds (alone, in a tuple, or None); none of a plain field."""
    if any(isinstance(item, InPlaceOf) for item in info.metadata):
        return None  # its fields are those of the section whose place it takes
    candidates = [info.annotation, *get_args(info.annotation)]
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate  # type: ignore[return-value]
    return None


def _is_section(value: object) -> bool:
    return isinstance(value, BaseModel)
