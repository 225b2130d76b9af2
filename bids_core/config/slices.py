"""The part of a configuration that can change a stage's result.

Derived from the fields' annotations (`bids_core.config.effects`). `without_effect` finds fields
without a declared effect; a test checks that there are none, and another that changing a field
changes the identities of the stages it names and no others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from bids_core.config.effects import STAGES, Changes, Effect, InPlaceOf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

    from bids_core.config.section import Section


def effects_of(section: type[Section], name: str) -> tuple[Effect, ...]:
    """Return what a field can change, from its own annotation or its section's."""
    said = tuple(item for item in section.model_fields[name].metadata if isinstance(item, Effect))
    return said or section.effects


def sliced(section: Section, stage: str) -> dict[str, Any]:
    """Return the values that can change a stage's result, as JSON, without empty sections.

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
            continue  # the caller has already put it in place of the other field
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
    """Yield every field that is not itself a section: dotted path, section type, name."""
    for name, info in section.model_fields.items():
        inner = _section_in(info)
        if inner is None:
            yield f"{prefix}{name}", section, name
        else:
            yield from walk(inner, f"{prefix}{name}.")


def without_effect(section: type[Section]) -> list[str]:
    """Return the fields without a declared effect."""
    return [path for path, owner, name in walk(section) if not effects_of(owner, name)]


def _section_in(info: FieldInfo) -> type[Section] | None:
    """Return the section type that a field holds (directly, optionally or in a tuple), if any."""
    if any(isinstance(item, InPlaceOf) for item in info.metadata):
        return None  # its fields are those of the section it replaces
    candidates = [info.annotation, *get_args(info.annotation)]
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate  # type: ignore[return-value]
    return None


def _is_section(value: object) -> bool:
    return isinstance(value, BaseModel)
