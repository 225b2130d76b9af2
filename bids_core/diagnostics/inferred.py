"""Rows whose influence was inferred from a landmark instead of computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bids_core.influence.files import LabelledMatrix


@dataclass(frozen=True)
class Inferred:
    """The source of a row's inferred influence.

    Args:
        landmark: name of the row whose influence was taken; None in matrices from earlier versions.
        expected_error: standard error of an entry, in standard deviations of its column.
    """

    landmark: str | None
    expected_error: float

    def words(self) -> str:
        """Return it as a sentence."""
        source = "a landmark" if self.landmark is None else f"landmark {self.landmark}"
        return (
            f"Its influence was not computed: it was taken from {source}, the row with the nearest "
            f"hidden states among those with gradients. Expected error: "
            f"{self.expected_error:.1f} standard deviations."
        )


def inferred_from(labelled: LabelledMatrix, row: int) -> Inferred | None:
    """Return the source of a row's influence; None if it was computed.

    Args:
        labelled: the matrix.
        row: index of the row.
    """
    if labelled.expected_error is None:
        return None
    taken, names = labelled.landmark, labelled.matrix.row_ids
    error = float(labelled.expected_error[row])
    if error == 0 if taken is None else taken[row] == row:
        return None
    landmark = None if taken is None else int(taken[row])
    name = None if landmark is None else str(names[landmark] if names else landmark)
    return Inferred(name, error)
