"""Leaving out by masks against selecting from the smaller matrix, which is the slow oracle."""

import numpy as np
import pandas as pd
import pytest
import zarr

from bids_core.diagnostics.stability import (
    checkpoint_agreement,
    leave_one_out,
    leave_out_checkpoints,
)
from bids_core.errors import MatrixError
from bids_core.influence.matrix import as_matrix
from bids_core.influence.normalization import prepare
from bids_core.selection import select
from bids_core.selection.bids import first_lists, pick_from

TASKS = ["a", "a", "b", "b", "b", "c", "c", "d"]


def kinds(kind, n_rows=300):
    rng = np.random.default_rng(7)
    values = rng.standard_normal((n_rows, len(TASKS)))
    if kind == "tied":
        values = np.round(values * 2) / 2
    elif kind == "duplicated":
        values = np.repeat(values[: n_rows // 3], 3, axis=0)
    elif kind == "constant":
        values[:, 3] = 0.25
    elif kind == "heavy":
        values = rng.standard_cauchy((n_rows, len(TASKS)))
    return values.astype(np.float32)


@pytest.mark.parametrize("normalization", ["zscore", "robust", "rank", "none"])
@pytest.mark.parametrize("kind", ["random", "tied", "duplicated", "constant", "heavy"])
@pytest.mark.filterwarnings("ignore::bids_core.influence.normalization.ColumnWarning")
def test_picks_without_columns_are_those_of_the_smaller_matrix(kind, normalization):
    values, budget = kinds(kind), 120
    matrix, scale = prepare(as_matrix(values), normalization)
    best = first_lists(matrix, scale, budget)
    scores = scale.apply(matrix.values)
    for dropped in ([], [0], [3], [0, 1], [2, 3, 4], [1, 2, 3, 4, 5, 6, 7]):
        kept = np.setdiff1d(np.flatnonzero(scale.usable), dropped)
        expected = select(scores[:, kept], budget, normalization="none")
        found = pick_from(best.without(np.array(dropped, dtype=np.int64)), budget)
        assert found.rows.tolist() == expected.indices.tolist()
        assert found.utilities.tolist() == expected.utilities.tolist()
        assert found.columns.tolist() == kept[expected.winning_columns].tolist()


def test_the_lists_that_are_shared_are_left_as_they_were():
    values = kinds("random")
    best = first_lists(*prepare(as_matrix(values), "zscore"), 290)
    first = pick_from(best.without(np.array([2])), 290).rows
    pick_from(best.without(np.array([5])), 290)
    assert pick_from(best.without(np.array([2])), 290).rows.tolist() == first.tolist()


@pytest.mark.parametrize("method", ["bids", "less", "round_robin"])
def test_lines_are_named_and_counted(method):
    ids = [f"v{j}" for j in range(len(TASKS))]
    frame = leave_one_out(
        kinds("random"), 0.2, by="instance", tasks=TASKS, validation_ids=ids, method=method
    )
    assert frame["left_out"].tolist() == ids
    assert (frame["columns"] == 1).all()
    assert ((frame["kept"] / 60) == frame["share_kept"]).all()


def test_a_matrix_of_which_nothing_usable_is_left_is_refused():
    values = np.ones((10, 2))
    values[:, 1] = np.arange(10)
    with pytest.raises(MatrixError, match="nothing that can be normalised"):
        leave_one_out(values, 3, by="instance")


def test_checkpoints_may_lie_on_disk_and_are_read_in_pieces(tmp_path, monkeypatch):
    from bids_core.diagnostics import stability

    rng = np.random.default_rng(1)
    parts = [rng.standard_normal((200, 9)).astype(np.float32) for _ in range(3)]
    stored = []
    for place, part in enumerate(parts):
        array = zarr.create_array(tmp_path / f"{place}.zarr", data=part, chunks=(64, 9))
        stored.append(as_matrix(array, resident_bytes=0))
    whole = checkpoint_agreement(parts)
    monkeypatch.setattr(stability, "_BLOCK_BYTES", 8 * 200 * 3 * 2)  # two columns at a time
    # sums over columns of another memory layout are rounded otherwise
    pd.testing.assert_frame_equal(checkpoint_agreement(stored), whole, rtol=1e-12)
    weights = [0.5, 0.3, 0.2]
    assert leave_out_checkpoints(stored, weights, 40).equals(
        leave_out_checkpoints(parts, weights, 40)
    )
