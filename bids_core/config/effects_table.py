"""The table of docs/identity.md: what is recomputed when a configuration field changes.

`python -m bids_core.config.effects_table` prints the page; a test checks that it matches the
annotations.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from bids_core.config.effects import (
    ROWS,
    STAGES,
    Changes,
    Effect,
    InPlaceOf,
    NoEffect,
    Resolved,
    recomputed,
)
from bids_core.config.run import RunConfig
from bids_core.config.slices import effects_of, walk

if TYPE_CHECKING:
    from bids_core.config.section import Section

_HEAD: Final = """\
# What is computed again when a field changes

Every result is stored under a name derived from everything that can change it. Each field of the
configuration declares what it can change (`bids_core/config/`), the names are derived from that,
and a test changes every field and compares the names of all stages. This page is generated from the
same declarations (`python -m bids_core.config.effects_table`).

*Enters* lists the stages whose names the field is part of, through its value or what the value
resolves to. *Computed again* lists these and all stages that read their results. Stages that read
prepared rows identify them by content, so they are computed again only where those rows actually
differ. Set a field back, and the old results are found again under their old names.

Two things are not part of any name: the versions of the libraries (`record.json` beside each result
lists them), and the last bits of floating-point sums, which can differ between devices, numbers of
threads and batch sizes.

| field | enters | computed again |
| --- | --- | --- |
"""


_MANY: Final = 3


def page() -> str:
    """Return the page."""
    rows = [_row(path, effects_of(owner, name)) for path, owner, name in walk(RunConfig)]
    return _HEAD + "".join(f"{row}\n" for row in rows)


def changes_in_words(path: str, owner: type[Section], name: str) -> str:
    """Return which stages are recomputed when a field changes, in words.

    Args:
        path: dotted path of the field.
        owner: its section.
        name: its name in that section.
    """
    effects = effects_of(owner, name)
    for effect in effects:
        if isinstance(effect, NoEffect):
            return f"no result ({effect.reason})"
    return _again(path, effects)


def _row(path: str, effects: tuple[Effect, ...]) -> str:
    for effect in effects:
        if isinstance(effect, NoEffect):
            return f"| `{path}` | nothing: {effect.reason} | nothing |"
    entered = "; ".join(_words(effect) for effect in effects)
    return f"| `{path}` | {entered} | {_again(path, effects)} |"


def _again(path: str, effects: tuple[Effect, ...]) -> str:
    stages = tuple(stage for effect in effects for stage in effect.stages)
    section = path.split(".")[0]
    return _named(recomputed(stages, split=section if section in ROWS else None))


def _words(effect: Effect) -> str:
    stages = ", ".join(effect.stages)
    if isinstance(effect, Resolved):
        return f"{stages}, as {effect.by}"
    if isinstance(effect, InPlaceOf):
        return f"{stages}, in place of `{effect.field}`"
    if isinstance(effect, Changes) and effect.when is not None:
        return f"{stages}, where it matters"
    return stages


def _named(stages: tuple[str, ...]) -> str:
    """Return stages in words, shortened if they are one stage and all that follow from it."""
    every = tuple(STAGES)
    if stages == every:
        return "everything"
    for first in every:
        if len(stages) > _MANY and stages == recomputed((first,)):
            return f"{first} and all that follows"
    return ", ".join(stages)


if __name__ == "__main__":
    sys.stdout.write(page())
