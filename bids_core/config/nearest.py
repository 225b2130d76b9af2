"""Suggestions for a key that the configuration does not have."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final, get_args

from pydantic import BaseModel

from bids_core.config.run import RunConfig
from bids_core.config.slices import walk

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN: Final = 3


def suggestion(location: Sequence[str | int]) -> str:
    """Return in words which key may have been meant.

    Args:
        location: the key as a path; numbers are list indices. If the last part is empty, all keys
            of the section are named.
    """
    *above, last = location
    known, wrong = known_keys(above), str(last)
    if wrong:
        close = difflib.get_close_matches(wrong, known, n=1)
        close = close or nearest_fields(wrong)
        if close:
            return f"did you mean {' or '.join(map(repr, close))}?"
    return f"known keys: {', '.join(known)}" if known else "it has no keys of its own"


def nearest_fields(name: str) -> list[str]:
    """Return the fields, of any section, with the nearest name or dotted path; may be empty."""
    paths = [path for path, _, _ in walk(RunConfig)]
    last = name.rpartition(".")[2]
    ends: dict[str, list[str]] = {}
    for path in paths:
        ends.setdefault(path.rpartition(".")[2], []).append(path)
    close = difflib.get_close_matches(name, paths, n=1, cutoff=0.8)
    if not close:
        close = [path for end in difflib.get_close_matches(last, ends, n=1) for path in ends[end]]
    return close[:_SHOWN]


def known_keys(location: Sequence[str | int]) -> list[str]:
    """Return the keys of a section, in alphabetical order."""
    model: type[BaseModel] = RunConfig
    for part in location:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        found = [kind for kind in (annotation, *get_args(annotation)) if _is_section(kind)]
        if not found:
            return []
        model = found[0]
    return sorted(model.model_fields)


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
