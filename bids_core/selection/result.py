"""A selection: ordered picks, each with its utility.

Shapes: N training rows, M validation instances (columns), B picks.
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Final, overload

import numpy as np
import numpy.typing as npt

from bids_core.errors import MatrixError
from bids_core.influence.labels import Labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from bids_core.picture import Picture

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NO_COLUMN = -1
"""Winning column of a pick that no validation instance decided (random, full)."""
_SHOWN: Final = 10
"""Number of picks shown in a notebook."""


@dataclass(frozen=True)
class Picks:
    """The result of a method: rows in pick order.

    Args:
        rows: [B] int64.
        utilities: [B] float64.
        columns: [B] int64, the winning column of each pick, `NO_COLUMN` if there is none.
        left_out: columns that took no part.
    """

    rows: Ints
    utilities: Floats
    columns: Ints
    left_out: tuple[int, ...] = ()


@dataclass(frozen=True)
class Pick:
    """One selected row.

    Args:
        rank: its place among the picks, from 1.
        row: its index in the matrix.
        row_id: its name; the index as text if rows have no names.
        utility: its value to the method when it was picked.
        source: where the row comes from; None if unknown.
        winning_validation: the validation instance that decided the pick; None if none did.
        winning_task: the task of that instance; None if unknown.
    """

    rank: int
    row: int
    row_id: str
    utility: float
    source: str | None = None
    winning_validation: str | None = None
    winning_task: str | None = None


@dataclass(frozen=True, repr=False, eq=False)
class Selection:
    """Selected rows, best first.

    `len(picks)` is the number of picks, `picks[0]` the best one, `picks[:100]` the selection at a
    budget of 100. `picks.indices` are row indices for numpy, pandas and `datasets`
    (`dataset.select(picks.indices)`), `picks.to_frame()` is a table, `picks.plot()` a figure.

    Args:
        indices: [B] int64 row indices in pick order.
        utilities: [B] float64: the value of each pick to the method at that time; 0 for methods
            without values (random, full).
        winning_columns: [B] int64: the validation instance that decided the pick, or
            `NO_COLUMN`. For methods that score whole tasks: the instance with the highest
            influence within the group that decided.
        method: name of the method.
        normalization: the normalisation used (`none` for methods without one).
        n_rows: rows of the pool, N.
        left_out: columns that took no part because they have no spread.
        labels: names of the rows and columns, as far as they are known.
        seed: seed of random methods.
    """

    indices: Ints
    utilities: Floats
    winning_columns: Ints
    method: str
    normalization: str
    n_rows: int
    left_out: tuple[int, ...] = ()
    labels: Labels | None = None
    seed: int = 0

    def __len__(self) -> int:
        """Return the number of picks."""
        return len(self.indices)

    @overload
    def __getitem__(self, place: int) -> Pick: ...
    @overload
    def __getitem__(self, place: slice) -> Selection: ...
    def __getitem__(self, place: int | slice) -> Pick | Selection:
        """Return one pick, or the selection at a smaller budget.

        Args:
            place: `picks[0]` is the best pick, `picks[-1]` the last; `picks[:100]` are the first
                100. Picks are nested, so these are the selection at a budget of 100.

        Raises:
            MatrixError: a slice does not begin with the best pick (other parts of the picks are not
                a selection: slice `indices` or `to_frame()` instead), or `place` is not a number.
            IndexError: there are fewer picks.
        """
        if not isinstance(place, slice):
            return self._pick(self._rank_at(place))
        start, stop, step = place.indices(len(self))
        if (start, step) != (0, 1) or stop < 1:
            msg = (
                "a slice of a selection begins with the best pick: picks[:100]; for other parts "
                "slice picks.indices or picks.to_frame()"
            )
            raise MatrixError(msg)
        return self.first(stop)

    def __iter__(self) -> Iterator[Pick]:
        """Yield the picks, best first."""
        return map(self._pick, range(1, len(self) + 1))

    def first(self, count: int) -> Selection:
        """Return the selection at a smaller budget: the first `count` picks (picks are nested)."""
        if not 0 < count <= len(self):
            msg = f"there are no first {count} picks: ask for at most {len(self)}"
            raise MatrixError(msg)
        return replace(
            self,
            indices=self.indices[:count],
            utilities=self.utilities[:count],
            winning_columns=self.winning_columns[:count],
        )

    def to_frame(
        self,
        row_ids: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
        validation_ids: Sequence[str] | None = None,
        tasks: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Return one line per pick.

        Args:
            row_ids: N names of the rows; default: the selection's own, otherwise the index.
            sources: N names of the rows' sources; default: the selection's own.
            validation_ids: M names of the validation instances; default: the selection's own,
                otherwise the column index.
            tasks: M names of the tasks of the validation instances; default: the selection's own.

        Returns:
            Frame with columns rank (from 1), row, row_id, source, utility, winning_column,
            winning_validation, winning_task; None where a name is unknown.
        """
        import pandas as pd

        known = self.labels or Labels(self.n_rows)
        row_ids = known.row_ids if row_ids is None else row_ids
        sources = known.sources if sources is None else sources
        validation_ids = known.validation_ids if validation_ids is None else validation_ids
        tasks = known.tasks if tasks is None else tasks
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

    def plot(self, *, by: str | None = None) -> Picture:
        """Draw the utility of the picks and their composition.

        Args:
            by: what the picks are coloured by: `winning_task`, `winning_validation` or `source`;
                default: the first of these that the selection has.

        Returns:
            A matplotlib figure, which notebooks display; `.savefig("picks.png")` saves it.

        Raises:
            MatrixError: the selection lacks the column named by `by`.
            UserError: matplotlib is not installed.
        """
        from bids_core.selection.plot import plot_picks

        return plot_picks(self.to_frame(), self.words(), by=by)

    def __repr__(self) -> str:
        """Return one line: how many picks of how many rows, by which method."""
        return f"<Selection: {self.words()}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: one line, and the first picks as a table."""
        frame = self.first(min(_SHOWN, len(self))).to_frame()
        shown = frame.drop(columns=["row", "winning_column"]).dropna(axis="columns", how="all")
        more = len(self) - len(frame)
        rest = f"<p>and {more:,} more; <code>.to_frame()</code> lists all</p>" if more else ""
        table = shown.to_html(index=False, border=0, float_format="{:.3f}".format)
        return f"<p><b>Selection</b>: {escape(self.words())}</p>{table}{rest}"

    def words(self) -> str:
        """Return the selection in a few words: how many of how many rows, by which method."""
        how = "" if self.normalization == "none" else f" ({self.normalization})"
        left = f"; {len(self.left_out)} columns left out" if self.left_out else ""
        return f"{len(self):,} of {self.n_rows:,} rows, picked by {self.method}{how}{left}"

    def _rank_at(self, place: object) -> int:
        if not isinstance(place, numbers.Integral):
            msg = f"picks are numbered, best first: picks[0], picks[:100], not picks[{place!r}]"
            raise MatrixError(msg)
        if not -len(self) <= int(place) < len(self):
            msg = f"picks[{place}] is beyond the {len(self)} picks"
            raise IndexError(msg)
        return int(place) % len(self) + 1

    def _pick(self, rank: int) -> Pick:
        row, column = int(self.indices[rank - 1]), int(self.winning_columns[rank - 1])
        known = self.labels or Labels(self.n_rows)
        name = _names(known.validation_ids, [column])[0] if known.validation_ids else str(column)
        return Pick(
            rank=rank,
            row=row,
            row_id=str(row if known.row_ids is None else known.row_ids[row]),
            utility=float(self.utilities[rank - 1]),
            source=_names(known.sources, [row])[0],
            winning_validation=None if column == NO_COLUMN else name,
            winning_task=_names(known.tasks, [column])[0],
        )


def _names(names: Sequence[str] | None, places: Ints | list[int]) -> list[str | None]:
    if names is None:
        return [None] * len(places)
    return [None if place < 0 else str(names[place]) for place in np.asarray(places).tolist()]
