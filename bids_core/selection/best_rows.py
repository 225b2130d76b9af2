"""The best unselected row of every column, at hand at any time.

A column's list holds *all* rows whose raw value reaches the column's threshold, best first (ties:
lowest row first), so it is complete down to a known value. When a list runs out its threshold is
lowered and the list is rebuilt; that is rare, and costs one pass over the columns concerned.

Shapes: N training rows, M validation instances (columns), L entries of all lists together. Lists
lie one after the other in flat [L] arrays, each closed by a sentinel: row N, which is never
selected, with the highest normalised value that a row outside the list could have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from bids_core.matrix import Matrix
    from bids_core.normalization import ColumnScale

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_SAMPLE_ROWS: Final = 8192
"""Rows from which thresholds are estimated; any value gives the same selection."""
_SHORTEST: Final = 64
_GROWTH: Final = 3
_DEPTH: Final = 4
"""List entries looked at per upcoming row: the same row heads many lists."""
_SAMPLE_CHUNKS: Final = 128
"""Chunks that a sample of a matrix on disk is taken from."""


class BestRows:
    """Heads of the columns' lists of best rows.

    Args:
        matrix: [N, M] finite raw values.
        scale: their normalisation; unusable columns never have a best row.
        expected: how many entries of a list are likely to be used; sets its first length.
    """

    def __init__(self, matrix: Matrix, scale: ColumnScale, expected: int) -> None:
        n_rows, n_columns = matrix.n_rows, matrix.n_columns
        self.selected = np.zeros(n_rows + 1, dtype=np.bool_)
        """[N + 1]; whoever picks a row marks it here. The last one stands for the sentinel."""
        self.head_rows = np.full(n_columns, n_rows, dtype=np.int64)
        """[M] best unselected row of each column; N where there is none."""
        self.head_values = np.full(n_columns, -np.inf)
        """[M] its normalised value; -inf where there is none."""
        self._matrix, self._scale = matrix, scale
        self._sample = _sample(matrix)
        self._length = np.full(n_columns, max(_SHORTEST, expected))
        self._threshold: Floats = np.full(n_columns, np.inf)
        self._lists: list[tuple[Ints, Floats]] = [
            (np.empty(0, dtype=np.int64), np.empty(0)) for _ in range(n_columns)
        ]
        usable = np.flatnonzero(scale.usable)
        self._lower(usable, self._length[usable])

    def advance(self, columns: Ints) -> None:
        """Move the heads of some columns on to their next unselected rows."""
        position = self._position[columns]
        rows = self._rows[position]
        while (busy := self.selected[rows]).any():
            position += busy
            rows = self._rows[position]
        self._position[columns] = position
        self.head_rows[columns] = rows
        self.head_values[columns] = self._values[position]
        exhausted = columns[rows == len(self.selected) - 1]
        if len(exhausted):
            self._extend(exhausted)

    def next_values(self, columns: Ints) -> Floats:
        """Return the highest value below each head's own, selected rows included."""
        below: Floats = self._values[self._next_run[self._position[columns]]]
        return below

    def upcoming(self, count: int) -> Ints:
        """Return up to `count` unselected rows near the heads of the lists, nearest first."""
        longest = int((self._start + self._sizes - self._position).max())
        depth = min(longest, -(-_DEPTH * count // len(self._position)))
        places = self._position + np.arange(depth)[:, None]
        inside = places < self._start + self._sizes
        rows: Ints = self._rows[places[inside]]
        rows = rows[~self.selected[rows]]
        first = np.unique(rows, return_index=True)[1]
        return rows[np.sort(first)[:count]]

    def tied(self, column: int, mean: float, best: float) -> Ints:
        """Return unselected rows of a column whose value minus `mean` rounds to `best`.

        Of rows with the same normalised value only the lowest is returned.
        """
        found = []
        position = int(self._position[column])
        while self._values[position] - mean >= best:
            stop = int(self._next_run[position])
            run = self._rows[position:stop]
            free = run[~self.selected[run]]
            if self._rows[position] == len(self.selected) - 1:
                if self._values[position] == -np.inf:
                    break
                self._extend(np.array([column]))  # rows outside the list may tie too
                return self.tied(column, mean, best)
            found.extend(free[:1])
            position = stop
        return np.array(found, dtype=np.int64)

    def _extend(self, columns: Ints) -> None:
        """Lengthen the lists of these columns, and of those that will soon run out too."""
        open_ended = np.isfinite(self._threshold)
        used = self._position - self._start
        soon = np.flatnonzero(open_ended & (2 * used > self._sizes))
        wanted = np.union1d(columns[open_ended[columns]], soon)
        if len(wanted):
            sizes = np.maximum(self._sizes[wanted], self._length[wanted])
            self._length[wanted] = np.minimum(_GROWTH * sizes, self._matrix.n_rows)
            self._lower(wanted, self._length[wanted])

    def _lower(self, columns: Ints, lengths: Ints) -> None:
        """Set thresholds so that about `lengths` rows reach them, and rebuild those lists."""
        old = self._threshold[columns]
        new = _thresholds(self._sample[:, columns], lengths, self._matrix.n_rows, below=old)
        self._threshold[columns] = new
        entries = _collect(self._matrix, columns, new, old)
        for column, (rows, raw) in zip(columns, entries, strict=True):
            z = (raw - self._scale.center[column]) / self._scale.scale[column]
            known_rows, known_z = self._lists[column]
            rows, z = np.concatenate([known_rows, rows]), np.concatenate([known_z, z])
            order = np.lexsort((rows, -z))
            self._lists[column] = (rows[order], z[order])
        self._join()

    def _join(self) -> None:
        """Lay all lists one after the other and put the heads where they belong."""
        n_rows = self._matrix.n_rows
        complete = ~np.isfinite(self._threshold)
        bound = (np.where(complete, 0.0, self._threshold) - self._scale.center) / self._scale.scale
        bound[complete] = -np.inf
        self._sizes = np.array([len(rows) for rows, _ in self._lists])
        self._start = np.concatenate([[0], np.cumsum(self._sizes + 1)[:-1]])
        self._rows = np.concatenate([np.append(rows, n_rows) for rows, _ in self._lists])
        self._values = np.concatenate(
            [np.append(z, top) for (_, z), top in zip(self._lists, bound, strict=True)]
        )
        self._next_run = _next_runs(self._values, self._start + self._sizes)
        self._position = self._start.copy()
        self.advance(np.flatnonzero(self._scale.usable))


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
    """Return up to `_SAMPLE_ROWS` rows, drawn at random; all rows of a small matrix.

    On disk they come from a few chunks, so that not every chunk has to be read.
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
    """Return per column a sample value that about `length` of the N rows reach, rather more.

    It is lower than `below`; -inf (all rows) where the sample has no such value.
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
) -> list[tuple[Ints, npt.NDArray[Any]]]:
    """Return for each column the rows with low <= value < high, and the values in float64."""
    whole = len(columns) == matrix.n_columns
    if matrix.values.dtype.kind == "f":  # thresholds are entries: exact in the matrix's own dtype
        low, high = low.astype(matrix.values.dtype), high.astype(matrix.values.dtype)
    unbounded = bool(np.isinf(high).all())
    places, values = [], []
    for start, block in matrix.blocks():
        part = np.ascontiguousarray(block if whole else np.take(block, columns, axis=1))
        mask = part >= low
        if not unbounded:
            mask &= part < high
        flat = np.flatnonzero(mask)
        places.append(flat + start * len(columns))
        values.append(part.ravel()[flat].astype(np.float64))
    rows, which = np.divmod(np.concatenate(places), len(columns))
    order = np.argsort(which, kind="stable")
    ends = np.cumsum(np.bincount(which, minlength=len(columns)))[:-1]
    raw = np.concatenate(values)[order]
    return list(zip(np.split(rows[order], ends), np.split(raw, ends), strict=True))


def _next_runs(values: Floats, sentinels: Ints) -> Ints:
    """Return for each entry the place of the next entry with another value, within its list."""
    starts = np.append(values[1:] != values[:-1], True)
    starts[sentinels] = True
    last = sentinels - 1
    starts[last[last >= 0]] = True  # a sentinel is an entry of its own
    ends = np.flatnonzero(starts)
    following = ends[np.searchsorted(ends, np.arange(len(values)))] + 1
    following[sentinels] = sentinels
    return following
