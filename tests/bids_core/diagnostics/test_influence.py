"""AID and THI against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from bids_core.diagnostics import average_influence_distribution, task_highest_influence
from bids_core.errors import MatrixError
from bids_core.influence.matrix import as_matrix

TASKS = ["math", "code", "math", "logic"]


def matrix():
    return np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)


def test_aid_is_the_mean_row_of_the_set():
    values = matrix().astype(np.float64)
    np.testing.assert_allclose(average_influence_distribution(values), values.mean(axis=0))
    np.testing.assert_allclose(
        average_influence_distribution(values, [3, 1, 4]), values[[3, 1, 4]].mean(axis=0)
    )


def test_aid_reads_a_matrix_on_disk(tmp_path):
    import zarr

    values = matrix()
    stored = zarr.create_array(tmp_path / "a.zarr", data=values, chunks=(8, 4))
    on_disk = as_matrix(stored, resident_bytes=0)
    for rows in (None, [40, 2, 2, 9]):
        np.testing.assert_array_equal(
            average_influence_distribution(on_disk, rows),
            average_influence_distribution(values, rows),
        )


@pytest.mark.parametrize("by", ["task_mean", "instance"])
def test_thi_counts_the_task_of_the_highest(by):
    values, rows = matrix(), list(range(5, 40))
    expected = dict.fromkeys(["math", "code", "logic"], 0)
    for i in rows:
        if by == "instance":
            expected[TASKS[int(np.argmax(values[i]))]] += 1
        else:
            means = {
                task: np.mean([values[i, j] for j in range(4) if TASKS[j] == task], dtype=float)
                for task in expected
            }
            expected[max(means, key=means.get)] += 1
    found = task_highest_influence(values, TASKS, rows, by=by)
    assert found.to_dict() == expected
    assert list(found.index) == ["math", "code", "logic"]


def test_bad_input_is_one_clear_line():
    with pytest.raises(MatrixError, match="3 tasks were given for 4"):
        task_highest_influence(matrix(), TASKS[:3])
    with pytest.raises(MatrixError, match="unknown form of THI"):
        task_highest_influence(matrix(), TASKS, by="mean")
    with pytest.raises(MatrixError, match="row index 50 is outside"):
        average_influence_distribution(matrix(), [50])
    with pytest.raises(MatrixError, match="non-empty"):
        average_influence_distribution(matrix(), [])
