"""Explanations against the selection run by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bids_core.diagnostics.explain import explain_row
from bids_core.errors import MatrixError
from bids_core.influence.matrix import Matrix
from bids_core.influence.normalization import normalize
from bids_core.selection import select

TASKS = ["a", "a", "b", "b", "c"]


def matrix():
    values = np.random.default_rng(0).standard_normal((60, 5))
    return Matrix(values, row_ids=[f"r{i}" for i in range(60)],
                  validation_ids=[f"v{j}" for j in range(5)])  # fmt: skip


def test_a_pick_is_explained_by_its_winner_and_its_rank():
    selection = select(matrix(), 12)
    row = int(selection.indices[4])
    found = explain_row(matrix(), selection, row, tasks=TASKS)
    assert (found.row_id, found.rank, found.picks) == (f"r{row}", 5, 12)
    assert found.utility == selection.utilities[4]
    assert found.winner.column == selection.winning_columns[4]
    assert found.winner.influence == matrix().values[row, found.winner.column]
    z = normalize(matrix())
    assert [i.column for i in found.instances] == np.argsort(-z[row]).tolist()[:5]
    json.dumps(found.to_dict(), allow_nan=False)


def test_influence_on_tasks_is_set_against_the_pool():
    found = explain_row(matrix(), select(matrix(), 12), 7, tasks=TASKS)
    z = normalize(matrix())
    for task in found.tasks:
        columns = [j for j in range(5) if TASKS[j] == task.task]
        means = z[:, columns].mean(axis=1)
        assert task.normalized == pytest.approx(means[7])
        assert task.influence == pytest.approx(matrix().values[7, columns].mean())
        assert task.percentile == pytest.approx(100 * (means < means[7]).mean())


def test_what_would_be_picked_instead():
    selection = select(matrix(), 12)
    row = int(selection.indices[4])
    found = explain_row(matrix(), selection, row, tasks=TASKS)
    others = np.delete(np.arange(60), row)
    again = others[select(matrix().values[others], 12).indices]
    assert found.instead == f"r{again[4]}"
    assert set(found.entering) == {f"r{i}" for i in set(again) - set(selection.indices)}
    assert len(found.entering) >= 1


def test_a_row_that_was_not_picked_is_set_against_the_last_pick():
    selection = select(matrix(), 12)
    row = next(i for i in range(60) if i not in selection.indices)
    found = explain_row(matrix(), selection, row, tasks=TASKS)
    assert (found.rank, found.winner, found.instead, found.entering) == (None, None, None, ())
    z = normalize(matrix())
    assert found.utility == pytest.approx((z[row] - z[selection.indices].mean(axis=0)).max())
    assert found.last_utility == selection.utilities[-1]


@pytest.mark.parametrize("method", ["less", "random", "round_robin", "random_balanced", "full"])
def test_other_methods_are_explained_too(method):
    inputs = {"tasks": TASKS, "sources": ["x", "y"] * 30, "seed": 3}
    selection = select(matrix(), 12, method=method, **inputs)
    row = int(selection.indices[2])
    found = explain_row(matrix(), selection, row, **inputs)
    assert found.rank == 3
    assert (found.winner is None) == (method in ("random", "random_balanced", "full"))


def test_a_method_that_selects_by_texts_is_explained_without_another_selection():
    texts = {"texts": [f"row {i}" for i in range(60)], "validation_texts": ["row 7"] * len(TASKS)}
    selection = select(matrix(), 12, method="bm25", tasks=TASKS, **texts)
    found = explain_row(matrix(), selection, int(selection.indices[0]), tasks=TASKS)
    assert (found.rank, found.instead, found.entering) == (1, None, ())


def test_a_row_outside_is_one_clear_line():
    with pytest.raises(MatrixError, match="row 60 is outside"):
        explain_row(matrix(), select(matrix(), 12), 60)
