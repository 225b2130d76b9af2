import numpy as np
import pytest

from bids_core.diagnostics import coverage, near_misses
from bids_core.errors import MatrixError
from bids_core.selection import select


@pytest.fixture
def matrix():
    return np.random.default_rng(3).normal(size=(60, 7))


def test_it_equals_the_definition(matrix):
    z = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0)
    picks = select(matrix, 9).indices.tolist()
    rows = [row for row in range(60) if row not in picks][:20]
    found = coverage(matrix, picks, rows)
    for line in found.to_dict("records"):
        gains = [z[line["row"], j] - np.mean([z[k, j] for k in picks]) for j in range(7)]
        column = int(np.argmax(gains))
        best = max(picks, key=lambda k: z[k, column])
        assert line["column"] == column
        assert line["worth"] == pytest.approx(gains[column])
        assert (line["covered_by"], line["covered_rank"]) == (best, picks.index(best) + 1)
        assert line["covered_z"] == pytest.approx(z[best, column])


def test_the_nearest_miss_is_worth_most(matrix):
    picks = select(matrix, 9).indices
    rows = np.setdiff1d(np.arange(60), picks)
    table = coverage(matrix, picks, rows).sort_values("worth", ascending=False)
    nearest = near_misses(matrix, 9, near=1)
    assert table["row"].iloc[0] == nearest["row"].iloc[0]
    assert table["covered_by"].iloc[0] == nearest["covered_by"].iloc[0]


def test_a_column_without_spread_covers_nothing(matrix):
    matrix[:, 2] = 5.0
    assert (coverage(matrix, [0, 1], range(2, 60))["column"] != 2).all()


def test_no_picks_or_foreign_rows_are_one_line(matrix):
    for picks, rows in (([], [1]), ([0], [60]), ([-1], [3])):
        with pytest.raises(MatrixError, match="must be row numbers of the matrix"):
            coverage(matrix, picks, rows)
    assert coverage(matrix, [0], []).empty
