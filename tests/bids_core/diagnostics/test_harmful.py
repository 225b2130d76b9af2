"""Harm scores and near misses against literal loops."""

import numpy as np
import pandas as pd
import pytest

from bids_core.diagnostics.audit import NEAR_MISS, audit_pool, near_misses
from bids_core.diagnostics.audit_words import audit_words
from bids_core.diagnostics.harmful import harmful_rows
from bids_core.errors import MatrixError
from bids_core.influence.normalization import ColumnWarning
from bids_core.selection import select

TASKS = ["a", "b", "a", "c", "b"]


def matrix(n=40, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 5)).astype(np.float32)


def literal(values, tasks, threshold=1.0, benefit=2.0, wrong=1.5):
    """Every number by a loop, from the definition."""
    values = values.astype(np.float64)
    z = (values - values.mean(axis=0)) / values.std(axis=0)
    names = list(dict.fromkeys(tasks))
    means = {k: [np.mean([z[i, j] for j, t in enumerate(tasks) if t == k])
                 for i in range(len(z))] for k in names}  # fmt: skip
    lines = []
    for i in range(len(z)):
        s = {k: (means[k][i] - np.mean(means[k])) / np.std(means[k]) for k in names}
        raw = {k: np.mean([values[i, j] for j, t in enumerate(tasks) if t == k]) for k in names}
        harm = -np.mean([min(v, 0) for v in s.values()])
        harmed = sum(v < -threshold for v in s.values())
        best, worst = max(s, key=s.get), min(s, key=s.get)
        lines.append(
            {
                "row": i, "harm": harm, "tasks_harmed": harmed,
                "tasks_negative": sum(v < 0 for v in raw.values()),
                "best_task": best, "best": s[best], "worst_task": worst, "worst": s[worst],
                "likely_wrong": harm >= wrong, "hurts_most": harmed > len(names) / 2,
                "one_sided": s[best] >= benefit and s[worst] < -threshold,
            }
        )  # fmt: skip
    return pd.DataFrame(lines)


@pytest.mark.parametrize("seed", range(3))
def test_scores_and_flags_are_those_of_the_literal_loop(seed):
    values = matrix(seed=seed)
    values[:, 1] = 5 + 1e3 * values[:, 1]  # another scale
    values[3] = -4 * np.abs(values[3])
    found = harmful_rows(values, TASKS)
    pd.testing.assert_frame_equal(found, literal(values, TASKS), check_dtype=False)
    assert found["hurts_most"].any()


def test_a_positive_affine_map_of_a_column_and_an_order_of_rows_change_nothing():
    values = matrix()
    whole = harmful_rows(values.astype(np.float64), TASKS)
    mapped = harmful_rows(values * np.array([1, 2, 3, 4, 5.0]) + 7, TASKS)
    assert np.allclose(whole["harm"], mapped["harm"], atol=1e-5)
    order = np.random.default_rng(1).permutation(len(values))
    moved = harmful_rows(values[order].astype(np.float64), TASKS)
    assert np.allclose(moved["harm"], whole["harm"].to_numpy()[order])


def test_columns_without_spread_are_left_out_with_their_task():
    values = matrix()
    values[:, 3] = 2.0  # all of task c
    with pytest.warns(ColumnWarning, match="zero variance"):
        found = harmful_rows(values, TASKS)
    assert set(found["best_task"]) == {"a", "b"}
    pd.testing.assert_series_equal(
        found["harm"], literal(values[:, [0, 1, 2, 4]], ["a", "b", "a", "b"])["harm"]
    )


def test_without_tasks_all_columns_are_one():
    found = harmful_rows(matrix())
    assert set(found["worst_task"]) == {"all"}
    assert (found["hurts_most"] == (found["worst"] < -1)).all()


def test_planted_rows_come_first():
    values = matrix(300)
    values[:, 0] += values[:, 2]
    planted = [7, 99, 200]
    values[planted] -= 4
    found = harmful_rows(values, TASKS)
    assert set(found.sort_values("harm", ascending=False)["row"][:3]) == set(planted)
    assert found.loc[planted, "likely_wrong"].all()


def test_near_misses_are_the_next_picks_and_what_covers_them():
    values = matrix(60, seed=4)
    found = near_misses(values, 10, near=5)
    picks = select(values, 15).indices
    assert found["row"].tolist() == picks[10:].tolist()
    z = (values - values.mean(axis=0, dtype=np.float64)) / values.std(axis=0, dtype=np.float64)
    for miss in found.to_dict("records"):
        assert miss["covered_by"] == max(picks[:10], key=lambda k: z[k, miss["column"]])
    assert (
        near_misses(values, 58, near=5)["row"].tolist() == select(values, 60).indices[58:].tolist()
    )
    assert near_misses(values, 60, near=5).empty


def test_an_audit_lists_each_row_once_a_reason_with_rank_and_text():
    values = matrix(80, seed=5)
    values[3] -= 5
    texts = [f"Row {i}\nsays   something" for i in range(80)]
    found = audit_pool(values, TASKS, budget=0.25, sources=["s"] * 80, texts=texts, near=4)
    table = found.table
    assert table["reason"].iloc[0] == "likely_wrong"
    assert table["row"].iloc[0] == 3
    assert table["text"].iloc[0] == "Row 3 says something"
    assert (table[table["reason"] != NEAR_MISS]["row"].value_counts() == 1).all()
    assert found.counts[NEAR_MISS] == 4
    assert table[table["reason"] == NEAR_MISS]["covered_by"].notna().all()
    picks = select(values, 20).indices.tolist()
    for line in table.to_dict("records"):
        expected = picks.index(line["row"]) + 1 if line["row"] in picks else None
        assert line["rank"] == expected or (expected is None and pd.isna(line["rank"]))
    assert "stand out as harmful" in audit_words(found)[0]


def test_an_audit_without_a_budget_has_no_picks():
    found = audit_pool(matrix(), TASKS)
    assert found.picked is None
    assert found.counts[NEAR_MISS] == 0
    assert found.table["rank"].isna().all()


def test_texts_of_other_rows_are_refused():
    with pytest.raises(MatrixError, match="3 texts were given for 40 rows"):
        audit_pool(matrix(), TASKS, texts=["x"] * 3)
    with pytest.raises(MatrixError, match="2 tasks were given"):
        harmful_rows(matrix(), ["a", "b"])
