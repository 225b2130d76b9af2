"""Leaving out by masks against selecting from the smaller matrix, which is the slow oracle."""

import numpy as np
import pandas as pd
import pytest
import zarr

from bids_core.diagnostics import stability
from bids_core.diagnostics.stability import (
    checkpoint_agreement,
    leave_one_out,
    leave_out_checkpoints,
)
from bids_core.errors import MatrixError
from bids_core.influence.matrix import as_matrix
from bids_core.influence.normalization import prepare
from bids_core.selection import METHODS, make_request, run_request, select
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


SUBTASKS = ["x", "y", "x", "y", "z", "x", "y", "x"]
ON_INFLUENCE = [name for name, method in METHODS.items() if method.needs == "influence"]


def whole_request(method, kind="random"):
    return make_request(
        kinds(kind), 0.2, method=method, normalization="robust", tasks=TASKS, subtasks=SUBTASKS,
        sources=[f"s{i % 7}" for i in range(300)], row_ids=[f"r{i}" for i in range(300)],
        validation_ids=[f"v{j}" for j in range(len(TASKS))], seed=11,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["random", "tied", "duplicated"])
@pytest.mark.parametrize("method", ON_INFLUENCE)
def test_with_nothing_left_out_the_selection_is_selected_again(method, kind):
    request = whole_request(method, kind)
    selection = run_request(request)
    again = run_request(request.in_memory().without_columns([]))
    for found in (again, selection):
        assert found.indices.tobytes() == selection.indices.tobytes()
        assert found.utilities.tobytes() == selection.utilities.tobytes()
        assert found.winning_columns.tobytes() == selection.winning_columns.tobytes()
    whole, without = stability._selector(request)
    assert whole.tobytes() == selection.indices.tobytes()
    assert without(np.empty(0, dtype=np.int64)).tobytes() == selection.indices.tobytes()


@pytest.mark.parametrize("method", ON_INFLUENCE)
def test_what_is_left_out_takes_its_subtasks_along(method):
    request = whole_request(method)
    frame = leave_one_out(request, by="task").set_index("left_out")
    picks = set(run_request(request).indices.tolist())
    for task in "abcd":
        kept = [j for j, name in enumerate(TASKS) if name != task]
        other = select(
            kinds("random")[:, kept], 0.2, method=method, normalization="robust",
            tasks=[TASKS[j] for j in kept], subtasks=[SUBTASKS[j] for j in kept], seed=11,
        )  # fmt: skip
        assert frame.loc[task, "kept"] == len(picks & set(other.indices.tolist()))


def test_subtasks_matter_so_that_the_tests_above_mean_something():
    request = whole_request("less")
    plain = select(kinds("random"), 0.2, method="less", tasks=TASKS)
    assert run_request(request).indices.tolist() != plain.indices.tolist()


@pytest.mark.parametrize("method", ["bids", "less", "optimal_transport"])
def test_a_checkpoint_of_next_to_no_weight_changes_nothing_when_it_is_left_out(method):
    request = whole_request(method)
    parts = [request.matrix.values, kinds("tied")]
    frame = leave_out_checkpoints(request, per_checkpoint=parts, weights=[1.0, 1e-12])
    assert frame["share_kept"][1] == 1.0
    with pytest.raises(MatrixError, match="checkpoint 1 is"):
        leave_out_checkpoints(request, per_checkpoint=[parts[0], parts[1][:5]], weights=[0.5, 0.5])


def test_all_that_belongs_to_a_validation_instance_goes_with_it():
    texts = [f"text {j}" for j in range(8)]
    request = make_request(
        None, 5, method="bm25", tasks=TASKS, texts=["text 1"] * 9, validation_texts=texts,
        representations=np.ones((9, 2)), validation_representations=np.arange(16).reshape(8, 2),
    ).without_columns([0, 3])  # fmt: skip
    assert request.n_columns == 6
    assert request.validation_texts == tuple(texts[j] for j in (1, 2, 4, 5, 6, 7))
    assert request.validation_representations.values[:, 0].tolist() == [2, 4, 8, 10, 12, 14]
    with pytest.raises(MatrixError, match="no validation instance is left"):
        request.without_columns(range(6))


@pytest.mark.parametrize("method", ["bids", "less", "round_robin"])
def test_lines_are_named_and_counted(method):
    ids = [f"v{j}" for j in range(len(TASKS))]
    request = make_request(kinds("random"), 0.2, tasks=TASKS, validation_ids=ids, method=method)
    frame = leave_one_out(request, by="instance")
    assert frame["left_out"].tolist() == ids
    assert (frame["columns"] == 1).all()
    assert ((frame["kept"] / 60) == frame["share_kept"]).all()


def test_a_matrix_of_which_nothing_usable_is_left_is_refused():
    values = np.ones((10, 2))
    values[:, 1] = np.arange(10)
    with pytest.raises(MatrixError, match="no column that can be normalised"):
        leave_one_out(make_request(values, 3), by="instance")


def test_checkpoints_may_lie_on_disk_and_are_read_in_pieces(tmp_path, monkeypatch):
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
    request = make_request(sum(w * p for w, p in zip(weights, parts, strict=True)), 40)
    assert leave_out_checkpoints(request, per_checkpoint=stored, weights=weights).equals(
        leave_out_checkpoints(request, per_checkpoint=parts, weights=weights)
    )
