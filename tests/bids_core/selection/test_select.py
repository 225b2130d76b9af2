"""`select`: its arguments, its other methods, its messages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_core.errors import MatrixError
from bids_core.influence.normalization import normalize
from bids_core.selection import METHODS, NO_COLUMN, resolve_budget, select

TASKS = ["math", "code", "math", "logic", "code"]
SUBTASKS = ["a", "x", "b", "y", "x"]


def matrix(n_rows=60, seed=0):
    return np.random.default_rng(seed).standard_normal((n_rows, 5))


@pytest.mark.parametrize("normalization", ["zscore", "none", "minmax", "robust", "rank"])
def test_instance_max_is_the_highest_entry_of_a_row(oracles, normalization):
    values = matrix()
    found = select(values, 20, method="instance_max", normalization=normalization)
    z = normalize(values, normalization)
    assert found.indices.tolist() == oracles.instance_max(z, 20)
    assert found.utilities.tolist() == z.max(axis=1)[found.indices].tolist()
    assert found.winning_columns.tolist() == z.argmax(axis=1)[found.indices].tolist()
    assert found.normalization == normalization


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_less_is_max_of_max_of_mean(oracles, seed, tied, with_subtasks):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 3, (30, 5)) if tied else rng.standard_normal((30, 5))
    subtasks = SUBTASKS if with_subtasks else None
    found = select(values, 12, method="less", tasks=TASKS, subtasks=subtasks)
    assert found.indices.tolist() == oracles.less(values, TASKS, subtasks or TASKS, 12)
    assert found.normalization == "none"


def test_random_is_seeded_and_nested():
    first, second = (select(matrix(), 30, method="random", seed=seed) for seed in (1, 2))
    assert first.indices.tolist() != second.indices.tolist()
    assert len(set(first.indices.tolist())) == 30
    assert select(matrix(), 10, method="random", seed=1).indices.tolist() == (
        first.indices[:10].tolist()
    )
    assert set(first.winning_columns.tolist()) == {NO_COLUMN}


def test_full_is_the_whole_pool_whatever_the_budget():
    assert select(matrix(7), 2, method="full").indices.tolist() == list(range(7))


@pytest.mark.parametrize(
    ("budget", "n_rows", "count"),
    [(3, 10, 3), (1, 10, 1), (1.0, 10, 10), (0.15, 288000, 43200), (0.29, 100, 29),
     (np.int64(4), 10, 4), (np.float64(0.5), 5, 2)],
)  # fmt: skip
def test_budget_is_a_count_or_a_fraction(budget, n_rows, count):
    assert resolve_budget(budget, n_rows) == count


@pytest.mark.parametrize(
    ("budget", "message"),
    [(0, "at least 1"), (-3, "at least 1"), (61, "more than the 60 rows"), (1.5, "fraction"),
     (0.0, "fraction"), (float("nan"), "fraction"), (0.001, "less than one row"),
     (True, "not a number"), ("many", "not a number")],
)  # fmt: skip
def test_a_bad_budget_is_one_clear_line(budget, message):
    with pytest.raises(MatrixError, match=message):
        select(matrix(), budget)


@pytest.mark.parametrize(
    ("values", "message"),
    [(np.zeros(4), "shape"), (np.zeros((0, 3)), "shape"), (np.zeros((2, 2, 2)), "shape"),
     (np.array([["a", "b"]]), "dtype"), ([[1.0], [1.0, 2.0]], "cannot be read"),
     (np.zeros((3, 2)), "no column has any variance"),
     (np.array([[1e308, 1.0], [1e308, 2.0]]), "overflows")],
)  # fmt: skip
def test_a_bad_matrix_is_one_clear_line(values, message):
    with pytest.raises(MatrixError, match=message):
        select(values, 1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_entry_that_is_not_finite_is_refused_by_name(method, bad):
    values = matrix(5)
    values[3, 2] = bad
    with pytest.raises(MatrixError, match=r"row 3 \('r3'\), column 2 \('v2'\)"):
        select(
            values, 2, method=method, tasks=TASKS, sources=["s"] * 5,
            row_ids=[f"r{i}" for i in range(5)], validation_ids=[f"v{j}" for j in range(5)],
            texts=["a"] * 5, validation_texts=["a"] * 5, perplexities=np.ones(5),
            representations=values, validation_representations=values,
        )  # fmt: skip


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(MatrixError, match="did you mean instance_max"):
        select(matrix(), 3, method="instancemax")


def test_an_unknown_normalization_names_the_nearest():
    with pytest.raises(MatrixError, match="did you mean zscore"):
        select(matrix(), 3, normalization="z-score")


def test_names_of_another_length_are_refused():
    with pytest.raises(MatrixError, match="4 tasks were given for 5 validation instances"):
        select(matrix(), 3, method="less", tasks=TASKS[:4])
    with pytest.raises(MatrixError, match="2 row names"):
        select(matrix(), 3, row_ids=["a", "b"])


def test_a_method_that_needs_tasks_says_so():
    with pytest.raises(MatrixError, match="needs `tasks`"):
        select(matrix(), 3, method="less")


def test_the_frame_names_what_won():
    values = matrix(6)
    found = select(values, 3)
    frame = found.to_frame(
        row_ids=[f"r{i}" for i in range(6)], sources=list("abcdef"),
        validation_ids=[f"v{j}" for j in range(5)], tasks=TASKS,
    )  # fmt: skip
    assert frame["rank"].tolist() == [1, 2, 3]
    assert frame["row_id"].tolist() == [f"r{i}" for i in found.indices]
    assert frame["source"].tolist() == ["abcdef"[i] for i in found.indices]
    assert frame["winning_validation"].tolist() == [f"v{j}" for j in found.winning_columns]
    assert frame["winning_task"].tolist() == [TASKS[j] for j in found.winning_columns]
    assert select(values, 2, method="random").to_frame()["winning_task"].isna().all()


def test_first_is_the_selection_at_a_smaller_budget():
    found = select(matrix(), 20)
    assert found.first(5).indices.tolist() == select(matrix(), 5).indices.tolist()
    with pytest.raises(MatrixError, match="first 21"):
        found.first(21)
