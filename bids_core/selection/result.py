"""What a selection is: ordered picks, and what each pick was worth.

Shapes: N training rows, M validation instances (columns), B picks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bids_core.errors import MatrixError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NO_COLUMN = -1
"""Winning column of a pick that no validation instance decided (random, full)."""


@dataclass(frozen=True)
class Picks:
    """Rows in pick order; what a method returns.

    Args:
        rows: [B] int64.
        utilities: [B] float64.
        columns: [B] int64, the winning column of each pick, `NO_COLUMN` where there is none.
        left_out: columns that took no part.
    """

    rows: Ints
    utilities: Floats
    columns: Ints
    left_out: tuple[int, ...] = ()


@dataclass(frozen=True)
class Selection:
    """Selected rows, best first.

    Args:
        indices: [B] int64 row indices in pick order.
        utilities: [B] float64: what the method valued the pick at, at the time; 0 where the
            method has no values (random, full).
        winning_columns: [B] int64: the validation instance that decided the pick, or
            `NO_COLUMN`. For methods that score whole tasks: the instance with the highest
            influence within the group that decided.
        method: name of the method.
        normalization: normalisation that it used (`none` for methods that use none).
        n_rows: rows of the pool, N.
        left_out: columns that took no part, because they have no spread.
    """

    indices: Ints
    utilities: Floats
    winning_columns: Ints
    method: str
    normalization: str
    n_rows: int
    left_out: tuple[int, ...] = ()

    def __len__(self) -> int:
        """Return the number of picks."""
        return len(self.indices)

    def first(self, count: int) -> Selection:
        """Return the selection at a smaller budget: the first `count` picks (picks are nested)."""
        if not 0 < count <= len(self):
            msg = f"the first {count} of {len(self)} picks were asked for"
            raise MatrixError(msg)
        return Selection(
            self.indices[:count], self.utilities[:count], self.winning_columns[:count],
            self.method, self.normalization, self.n_rows, self.left_out,
        )  # fmt: skip

    def to_frame(
        self,
        row_ids: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
        validation_ids: Sequence[str] | None = None,
        tasks: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Return one line per pick.

        Args:
            row_ids: N names of the rows; default: the row index.
            sources: N names of the rows' sources.
            validation_ids: M names of the validation instances; default: the column index.
            tasks: M names of the tasks of the validation instances.

        Returns:
            Frame with columns rank (from 1), row, row_id, source, utility, winning_column,
            winning_validation, winning_task; None where a name is not known.
        """
        import pandas as pd

        validation_names = (
            _names(validation_ids, self.winning_columns)
            if validation_ids is not None
            else [None if column == NO_COLUMN else str(column) for column in self.winning_columns]
        )
        return pd.DataFrame(
            {
                "rank": np.arange(1, len(self) + 1),
                "row": self.indices,
                "row_id": _names(row_ids, self.indices) if row_ids is not None
                else [str(row) for row in self.indices],
                "source": pd.Series(_names(sources, self.indices), dtype="str"),
                "utility": self.utilities,
                "winning_column": self.winning_columns,
                "winning_validation": pd.Series(validation_names, dtype="str"),
                "winning_task": pd.Series(_names(tasks, self.winning_columns), dtype="str"),
            }
        )  # fmt: skip


def _names(names: Sequence[str] | None, places: Ints) -> list[str | None]:
    if names is None:
        return [None] * len(places)
    return [None if place < 0 else str(names[place]) for place in places.tolist()]
