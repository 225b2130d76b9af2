"""Tables of things that users choose by name: methods, normalisations, features, metrics.

A table has one object per choice that says everything about it: its name, its description, what it
needs, what it costs, how it is computed. The command line's help, the configuration's choices, the
cost model, the report and the docs read the table, so a new choice is added in one file.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

_NAME: Final = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What every entry of a table has.

    Args:
        name: as users type it.
        what: one-line description, without a full stop.
        label: display name; by default the name without underscores.
    """

    name: str
    what: str = ""
    label: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            msg = f"{self.name!r} is not a name: write letters, digits and underscores"
            raise ValueError(msg)
        if not self.label:
            object.__setattr__(self, "label", self.name.replace("_", " "))


E = TypeVar("E", bound=Entry)


class Registry(Mapping[str, E], Generic[E]):
    """The entries of one kind, by name, in the order they were added.

    Args:
        kind: what an entry is called in messages: `normalisation`.
        entries: the initial entries.
        reserved: names with another meaning, which no entry may have.
    """

    def __init__(
        self, kind: str, entries: Iterable[E] = (), *, reserved: Iterable[str] = ()
    ) -> None:
        self.kind = kind
        self.reserved = frozenset(reserved)
        self._entries: dict[str, E] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: E) -> E:
        """Add an entry.

        Raises:
            ValueError: an entry of that name exists.
        """
        if entry.name in self._entries or entry.name in self.reserved:
            msg = f"a {self.kind} {entry.name!r} exists already; choose another name"
            raise ValueError(msg)
        self._entries[entry.name] = entry
        return entry

    def remove(self, name: str) -> None:
        """Take an entry out again."""
        del self._entries[name]

    def __getitem__(self, name: str) -> E:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def unknown(self, name: object) -> str:
        """Return the message for a name that is not in the table, with the nearest matches."""
        return unknown_name(self.kind, name, list(self))

    def words(self) -> str:
        """Return one line that describes every entry: `` `a`: what it does; `b`: ... ``."""
        return "; ".join(f"`{name}`: {self[name].what}" for name in self)


def unknown_name(kind: str, name: object, known: Sequence[str]) -> str:
    """Return the message for an unknown name, with the nearest matches."""
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"unknown {kind} {name!r}: {hint}known: {', '.join(known)}"
