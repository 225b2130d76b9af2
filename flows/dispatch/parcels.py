"""The work for workers: wanted artifacts, in parcels of one flow run each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from bids_core.artifacts import Handle
    from bids_core.errors import BidsError


@dataclass(frozen=True)
class Item:
    """One wanted artifact, and what a worker needs to know to make it."""

    handle: Handle
    value: Any


@dataclass(frozen=True)
class Parcel:
    """Work for one flow run.

    Args:
        label: name of the flow run.
        items: the artifacts that it writes to the store.
        parameters: of the flow, made from the items.
    """

    label: str
    items: tuple[Item, ...]
    parameters: Callable[[tuple[Item, ...]], dict[str, Any]]

    def without(self, done: set[str]) -> Parcel:
        """Return what is left of the parcel."""
        left = tuple(item for item in self.items if item.handle.key not in done)
        return Parcel(self.label, left, self.parameters)


class ParcelSource(Protocol):
    """A source of parcels."""

    def next_parcel(self, slots: int) -> Parcel | None:
        """Return the next parcel, given how many may be in flight; None if there are no more."""

    def done(self, item: Item) -> None:
        """Called when an artifact is in the store."""

    def failed(self, parcel: Parcel, error: BidsError) -> None:
        """Called when the rest of a parcel will not be done; raising the error stops everything."""
