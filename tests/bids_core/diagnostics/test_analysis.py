"""The whole analysis: its tables fit together, and every figure can be drawn."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from bids_core.diagnostics import aid_imbalance, aid_table
from bids_core.diagnostics.analysis import analyze
from bids_core.errors import MatrixError
from bids_core.influence.normalization import normalize
from bids_core.selection import select

TASKS = ["math", "math", "code", "code", "logic", "logic"]
CAPABILITIES = ["m", "m", "c", "c", "c", "c"]


@pytest.fixture(scope="module")
def matrix():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((120, 6)).astype(np.float32)
    values[:, :2] += 2 * rng.standard_normal((120, 1))  # one task dominates raw influence
    return values


@pytest.fixture(scope="module")
def analysis(matrix):
    return analyze(
        matrix,
        {
            "bids": select(matrix, 30),
            "less": select(matrix, 30, method="less", tasks=TASKS),
            "random": select(matrix, 30, method="random"),
            "mine": [5, 1, 3],
        },
        tasks=TASKS,
        capabilities=CAPABILITIES,
        sources=[f"s{i % 3}" for i in range(120)],
        texts=[f"the text number {i // 2} of the pool" for i in range(120)],
    )


def test_aid_tables_are_means_of_the_matrix(matrix, analysis):
    rows = select(matrix, 30).indices
    part = analysis.tables["aid_instances"].query("set == 'bids'")
    np.testing.assert_allclose(part["aid"], matrix[rows].astype(float).mean(axis=0))
    np.testing.assert_allclose(part["normalized_aid"], normalize(matrix)[rows].mean(axis=0))
    math = analysis.tables["aid_tasks"].query("set == 'bids' and task == 'math'").iloc[0]
    assert math["instances"] == 2
    assert math["aid"] == pytest.approx(part["aid"].iloc[:2].mean())


@pytest.mark.parametrize("normalization", ["zscore", "minmax", "robust", "rank", "none"])
def test_normalized_aid_of_every_kind(matrix, normalization):
    rows = [4, 8, 15]
    table = aid_table(matrix, rows, tasks=TASKS, normalization=normalization)
    np.testing.assert_allclose(
        table["normalized_aid"], normalize(matrix, normalization)[rows].mean(axis=0), atol=1e-12
    )


def test_imbalance_is_the_mean_difference_between_tasks(matrix, analysis):
    table = pd.DataFrame({"task": ["a", "a", "b", "c"], "normalized_aid": [1.0, 3.0, 5.0, 2.0]})
    assert aid_imbalance(table) == pytest.approx((3 + 0 + 3) / 3)
    found = analysis.facts["imbalance"]
    assert found["pool"] == pytest.approx(0, abs=1e-6)
    assert found["bids"] < found["less"]


def test_thi_adds_up_to_the_sets(analysis):
    for form in ("by_task_mean", "by_instance"):
        sums = analysis.tables["thi"].groupby("set")[form].sum().to_dict()
        assert sums == {"pool": 120, "bids": 30, "less": 30, "random": 30, "mine": 3}


def test_pick_order_tables_know_what_each_method_can_say(analysis):
    kinds = analysis.tables["along_picks"].groupby("set")["kind"].unique()
    assert set(kinds["bids"]) == {"top_task", "top_capability", "winning_task",
                                  "winning_capability", "source"}  # fmt: skip
    everyone = {"top_task", "top_capability", "source"}
    assert set(kinds["random"]) == set(kinds["mine"]) == everyone
    last = analysis.tables["along_picks"].query("set == 'bids' and picks == 30")
    assert last.groupby("kind")["share"].sum().tolist() == pytest.approx([1.0] * 5)
    assert set(analysis.tables["utility"]["set"]) == {"bids", "less"}


def test_near_duplicates_name_rows_of_the_pool(matrix, analysis):
    rows = set(select(matrix, 30).indices.tolist())
    pairs = analysis.tables["near_duplicates"].query("set == 'bids'")
    expected = {(a, a + 1) for a in range(0, 120, 2) if {a, a + 1} <= rows}
    found = {tuple(sorted(pair)) for pair in zip(pairs["first"], pairs["second"], strict=True)}
    assert found == expected
    assert expected


def test_it_is_written_as_json_and_parquet(analysis, tmp_path):
    text = json.dumps(analysis.to_dict(), allow_nan=False)
    assert json.loads(text)["sets"]["mine"] == 3
    analysis.write(tmp_path / "deep" / "folder")
    for name, frame in analysis.tables.items():
        back = pd.read_parquet(tmp_path / "deep" / "folder" / f"{name}.parquet")
        assert len(back) == len(frame)


def test_a_bad_set_is_one_clear_line(matrix):
    with pytest.raises(MatrixError, match="cannot be called"):
        analyze(matrix, {"pool": [1]})
    with pytest.raises(MatrixError, match="5 tasks"):
        analyze(matrix, tasks=TASKS[:5])
    with pytest.raises(MatrixError, match="outside"):
        analyze(matrix, {"mine": [120]})
