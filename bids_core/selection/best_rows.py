"""The best unselected row of every column, available at any time.

A column's list holds *all* rows whose raw value reaches the column's threshold, best first (ties:
lowest row first), so it is complete down to a known value. When a list runs out, its threshold is
lowered and the list is rebuilt; that is rare, and costs one pass over the columns concerned.

Shapes: N training rows, M validation instances (columns), L entries of all lists together. The
lists follow each other in flat [L] arrays. Each ends with a sentinel: row N, which is never
selected, with the highest normalised value that a row outside the list could have (-inf if there is
none). An entry takes 16 bytes.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from bids_core.influence.matrix import Matrix
    from bids_core.influence.normalization import ColumnScale

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_SAMPLE_ROWS: Final = 8192
"""Rows from which thresholds are estimated; the selection does not depend on it."""
_SHORTEST: Final = 64
_GROWTH: Final = 3
_DEPTH: Final = 4
"""List entries examined per upcoming row: one row can head many lists."""
_SAMPLE_CHUNKS: Final = 128
"""Chunks from which the sample of a matrix on disk is taken."""


class BestRows:
    """Heads of the columns' lists of best rows.

    Args:
        matrix: [N, M] finite raw values.
        scale: their normalisation; unusable columns never have a best row.
        expected: how many entries of a list are likely to be used; sets its initial length.
    """

    def __init__(self, matrix: Matrix, scale: ColumnScale, expected: int) -> None:
        n_rows, n_columns = matrix.n_rows, matrix.n_columns
        self.selected = np.zeros(n_rows + 1, dtype=np.bool_)
        """[N + 1]; True for picked rows; the last entry is for the sentinel."""
        self.head_rows = np.full(n_columns, n_rows, dtype=np.int64)
        """[M] best unselected row of each column; N if there is none."""
        self.head_values = np.full(n_columns, -np.inf)
        """[M] its normalised value; -inf if there is none."""
        self.matrix, self.scale = matrix, scale
        self._sample = _sample(matrix)
        self._length = np.full(n_columns, max(_SHORTEST, expected))
        self._threshold: Floats = np.full(n_columns, np.inf)
        self._position = np.arange(n_columns)  # positions of the heads in the flat arrays
        self._last = np.arange(n_columns)  # positions of the sentinels
        self._rows = np.full(n_columns, n_rows, dtype=_index_type(n_rows))
        self._values = np.full(n_columns, -np.inf)  # normalised
        self._jump = np.zeros(n_columns, dtype=np.int32)  # to the next entry of another value
        usable = np.flatnonzero(scale.usable)
        self._lower(usable, self._length[usable])

    def without(self, columns: Ints) -> BestRows:
        """Return the same lists from the start, without some columns.

        Must be called before any row is marked as selected. The lists are shared, not copied: when
        one is lengthened, it is replaced, never changed in place.

        Args:
            columns: columns to leave out.
        """
        other = copy.copy(self)
        for name in ("selected", "head_rows", "head_values", "_length", "_threshold", "_position",
                     "_last"):  # fmt: skip
            setattr(other, name, getattr(self, name).copy())
        usable = self.scale.usable.copy()
        usable[columns] = False
        other.scale = replace(self.scale, usable=usable)
        other.head_rows[columns] = self.matrix.n_rows
        other.head_values[columns] = -np.inf
        other._position[columns] = other._last[columns]
        other._threshold[columns] = np.inf
        return other

    def advance(self, columns: Ints) -> None:
        """Advance the heads of some columns to their next unselected rows."""
        position = self._position[columns]
        rows = self._rows[position]
        while np.count_nonzero(busy := self.selected[rows]):
            position += busy
            rows = self._rows[position]
        self._position[columns] = position
        self.head_rows[columns] = rows
        self.head_values[columns] = self._values[position]
        ended = rows == len(self.selected) - 1
        if np.count_nonzero(ended):
            self._extend(columns[ended])

    def next_value(self, column: int) -> float:
        """Return the highest value below a head's own, including selected rows."""
        position = self._position[column]
        return float(self._values[position + self._jump[position]])

    def upcoming(self, count: int) -> Ints:
        """Return up to `count` unselected rows near the heads of the lists, nearest first."""
        longest = int((self._last - self._position).max())
        depth = min(longest, -(-_DEPTH * count // len(self._position)))
        places = self._position + np.arange(depth)[:, None]
        rows: Ints = self._rows[places[places < self._last]].astype(np.int64)
        rows = rows[~self.selected[rows]]
        first = np.unique(rows, return_index=True)[1]
        return rows[np.sort(first)[:count]]

    def tied(self, column: int, mean: float, best: float) -> Ints:
        """Return unselected rows of a column whose value minus `mean` rounds to `best`.

        Among rows with the same normalised value, only the lowest is returned.
        """
        found: list[int] = []
        position, last = int(self._position[column]), int(self._last[column])
        while self._values[position] - mean >= best:
            if position == last:  # rows outside the list may tie too
                self._extend(np.array([column]))
                return self.tied(column, mean, best)
            following = position + int(self._jump[position])
            run = self._rows[position:following]
            found.extend(run[~self.selected[run]][:1].tolist())
            position = following
        return np.array(found, dtype=np.int64)

    def _extend(self, columns: Ints) -> None:
        """Lengthen the lists of these columns, and of others that will soon run out."""
        open_ended = np.isfinite(self._threshold)
        left = self._last - self._position
        soon = np.flatnonzero(open_ended & (2 * left < self._length))
        wanted = np.union1d(columns[open_ended[columns]], soon)
        if len(wanted):
            self._length[wanted] = np.minimum(_GROWTH * self._length[wanted], self.matrix.n_rows)
            self._lower(wanted, self._length[wanted])

    def _lower(self, columns: Ints, lengths: Ints) -> None:
        """Set thresholds so that about `lengths` rows reach them, and rebuild those lists.

        Entries before a head have been selected, and are dropped.
        """
        old = self._threshold[columns]
        new = _thresholds(self._sample[:, columns], lengths, self.matrix.n_rows, below=old)
        self._threshold[columns] = new
        added = dict(zip(columns.tolist(), _collect(self.matrix, columns, new, old), strict=True))
        pieces = []
        for column in range(self.matrix.n_columns):
            part = slice(int(self._position[column]), int(self._last[column]))
            if column in added:
                rows, raw = added.pop(column)
                rows = np.concatenate([self._rows[part], rows])
                values = np.concatenate([self._values[part], self._normalized(raw, column)])
                free = ~self.selected[rows]
                pieces.append(self._sorted(column, rows[free], values[free]))
            else:
                whole = slice(part.start, part.stop + 1)
                pieces.append((self._rows[whole], self._values[whole], self._jump[whole]))
        self._rows = np.concatenate([rows for rows, _, _ in pieces])
        self._values = np.concatenate([values for _, values, _ in pieces])
        self._jump = np.concatenate([jump for _, _, jump in pieces])
        self._last = np.cumsum([len(rows) for rows, _, _ in pieces]) - 1
        self._position = np.concatenate([[0], self._last[:-1] + 1])
        self.advance(np.flatnonzero(self.scale.usable))

    def _normalized(self, raw: npt.NDArray[Any], column: int) -> Floats:
        values: Floats = np.subtract(raw, self.scale.center[column], dtype=np.float64)
        values /= self.scale.scale[column]
        return values

    def _sorted(
        self, column: int, rows: npt.NDArray[Any], values: Floats
    ) -> tuple[npt.NDArray[Any], Floats, npt.NDArray[np.int32]]:
        """Return a list in order, with its sentinel and the jumps between its values."""
        order = np.lexsort((rows, -values))
        ends = np.append(np.flatnonzero(np.diff(values[order])), len(order) - 1)
        places = np.arange(len(order))
        jump = ends[np.searchsorted(ends, places)] + 1 - places
        bound = self._normalized(self._threshold[column : column + 1], column)
        return (
            np.append(rows[order], self._rows.dtype.type(self.matrix.n_rows)),
            np.append(values[order], bound),
            np.append(jump, 0).astype(np.int32),
        )


def top_rows(matrix: Matrix, count: int) -> tuple[Ints, Floats]:
    """Return the best rows of every column.

    Args:
        matrix: [N, M] finite values.
        count: how many, at most N.

    Returns:
        [M, count] rows and their values, best first, ties by the lowest row.
    """
    n_columns = matrix.n_columns
    sample = _sample(matrix)
    found = np.empty((n_columns, count), dtype=np.int64), np.empty((n_columns, count))
    missing = np.arange(n_columns)
    unbounded = np.full(n_columns, np.inf)
    length = count
    while len(missing):
        low = _thresholds(
            sample[:, missing], np.full(len(missing), length), matrix.n_rows,
            below=unbounded[missing],
        )  # fmt: skip
        lists = _collect(matrix, missing, low, unbounded[missing])
        for column, (rows, values) in zip(missing, lists, strict=True):
            if len(rows) >= count:
                order = np.lexsort((rows, -values))[:count]
                found[0][column], found[1][column] = rows[order], values[order]
        missing = missing[[len(rows) < count for rows, _ in lists]]
        length = min(2 * length, matrix.n_rows)
    return found


def _sample(matrix: Matrix) -> npt.NDArray[Any]:
    """Return up to `_SAMPLE_ROWS` random rows; all rows of a small matrix.

    In a matrix on disk they come from a few chunks, so that not every chunk has to be read.
    """
    generator = np.random.default_rng(0)
    rows = np.arange(matrix.n_rows)
    if not matrix.resident:
        chunk = int(matrix.values.chunks[0])
        n_chunks = -(-matrix.n_rows // chunk)
        if n_chunks > _SAMPLE_CHUNKS:
            chosen = generator.choice(n_chunks, _SAMPLE_CHUNKS, replace=False)
            rows = rows[np.isin(rows // chunk, chosen)]
    if len(rows) > _SAMPLE_ROWS:
        rows = np.sort(generator.choice(rows, _SAMPLE_ROWS, replace=False))
    return matrix.take(rows)


def _thresholds(sample: npt.NDArray[Any], lengths: Ints, n_rows: int, *, below: Floats) -> Floats:
    """Return for each column a sample value reached by about `length` of the N rows, or a few more.

    It is lower than `below`; -inf (all rows) if the sample has no such value.
    """
    size = len(sample)
    share = lengths * (size / n_rows)
    ranks = np.ceil(share + (0 if size == n_rows else 2 * np.sqrt(share) + 2)).astype(np.int64)
    ordered = np.sort(sample, axis=0)[::-1]
    found: Floats = ordered[np.minimum(ranks, size) - 1, np.arange(sample.shape[1])].astype(
        np.float64
    )
    for column in np.flatnonzero(found >= below):  # a long run of equal values
        lower = ordered[ordered[:, column] < below[column], column]
        found[column] = lower[0] if len(lower) else -np.inf
    found[ranks >= size] = -np.inf
    return found


def _collect(
    matrix: Matrix, columns: Ints, low: npt.NDArray[Any], high: npt.NDArray[Any]
) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Return for each column the rows with low <= value < high in order, and their raw values."""
    whole = len(columns) == matrix.n_columns
    if matrix.values.dtype.kind == "f":  # thresholds are entries: exact in the matrix's dtype
        low, high = low.astype(matrix.values.dtype), high.astype(matrix.values.dtype)
    unbounded = bool(np.isinf(high).all())
    index_type, raw_type = _index_type(matrix.n_rows), _raw_type(matrix)
    column_type = np.uint16 if len(columns) < 1 << 16 else np.int64  # numpy sorts uint16 by radix
    rows, which, raw = [], [], []
    for start, block in matrix.blocks():
        part = np.ascontiguousarray(block if whole else np.take(block, columns, axis=1))
        mask = part >= low
        if not unbounded:
            mask &= part < high
        flat = np.flatnonzero(mask)
        row, column = np.divmod(flat, len(columns))
        rows.append((row + start).astype(index_type))
        which.append(column.astype(column_type))
        raw.append(part.ravel()[flat].astype(raw_type))
    of_column = np.concatenate(which)
    which.clear()  # with many ties these can be as large as the matrix
    order = np.argsort(of_column, kind="stable")
    ends = np.cumsum(np.bincount(of_column, minlength=len(columns)))[:-1]
    all_rows = np.concatenate(rows)[order]
    rows.clear()
    all_raw = np.concatenate(raw)[order]
    return list(zip(np.split(all_rows, ends), np.split(all_raw, ends), strict=True))


def _index_type(n_rows: int) -> type[np.signedinteger[Any]]:
    return np.int32 if n_rows < np.iinfo(np.int32).max else np.int64


def _raw_type(matrix: Matrix) -> type[np.floating[Any]]:
    """Return the dtype that holds raw values and -inf without loss (float64 for integers)."""
    return np.float32 if matrix.values.dtype in (np.float16, np.float32) else np.float64
