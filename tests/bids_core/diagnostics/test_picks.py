"""Pick order, overlap, near-duplicates, stability."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bids_core.diagnostics.picks import along_picks, near_duplicates, overlap, utility_curve
from bids_core.diagnostics.stability import (
    checkpoint_agreement,
    leave_one_out,
    leave_out_checkpoints,
)
from bids_core.errors import MatrixError
from bids_core.selection import make_request, select

TASKS = ["a", "a", "b", "b", "c", "c"]


def matrix(seed=0, n_rows=80):
    return np.random.default_rng(seed).standard_normal((n_rows, 6))


def test_along_picks_counts_the_first_so_many():
    frame = along_picks(["x", "y", "x", None, "y", "x"], points=3)
    assert frame["picks"].drop_duplicates().tolist() == [2, 4, 6]
    counts = frame.pivot_table(index="picks", columns="label", values="count", aggfunc="sum")
    assert counts["x"].tolist() == [1, 2, 3]
    assert counts["y"].tolist() == [1, 1, 2]
    assert frame["share"].tolist() == (frame["count"] / frame["picks"]).tolist()


def test_the_utility_curve_says_where_the_returns_are_gone():
    frame = utility_curve([3.0, 1.0, 0.0, -5.0])
    assert frame["pick"].tolist() == [1, 2, 3, 4]
    assert frame["cumulative_share"].tolist() == [0.75, 1.0, 1.0, 1.0]
    assert utility_curve([0.0, 0.0])["cumulative_share"].isna().all()


def test_overlap_at_several_budgets():
    frame = overlap({"one": [1, 2, 3, 4], "two": [2, 1, 9, 8]}, points=2)
    assert frame["picks"].tolist() == [2, 4]
    assert frame["shared"].tolist() == [2, 2]
    assert frame["jaccard"].tolist() == [1.0, 2 / 6]


def test_near_duplicates_equal_comparing_all_pairs():
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(30)]
    base = [" ".join(rng.choice(words, 12)) for _ in range(12)]
    texts = base + [text + " more" for text in base[:6]] + base[:3] + ["short", "short", "a b"]

    def grams(text):
        split = text.split()
        return {tuple(split[i : i + 3]) for i in range(len(split) - 2)} or {tuple(split)}

    expected = {}
    for second in range(len(texts)):
        for first in range(second):
            one, other = grams(texts[first]), grams(texts[second])
            if len(one & other) / len(one | other) >= 0.7:
                expected[first, second] = len(one & other) / len(one | other)
    frame = near_duplicates(texts, threshold=0.7, words=3)
    found = {(a, b): j for a, b, j in frame.itertuples(index=False)}
    assert found == expected
    assert len(found) >= 9


def test_copies_of_a_common_template_are_found():
    frame = near_duplicates(["the same text for all of them"] * 300, common=10)
    assert frame["first"].tolist() == [0] * 299
    assert (frame["jaccard"] == 1).all()


@pytest.mark.parametrize("by", ["task", "instance"])
def test_leave_one_out_selects_without_it(by):
    values = matrix()
    frame = leave_one_out(make_request(values, 20, tasks=TASKS), by=by)
    whole = set(select(values, 20).indices.tolist())
    groups = ["a", "b", "c"] if by == "task" else list(range(6))
    assert frame["left_out"].tolist() == [str(group) for group in groups]
    for group, line in zip(groups, frame.itertuples(), strict=True):
        kept = [j for j in range(6) if (TASKS[j] if by == "task" else j) != group]
        other = set(select(values[:, kept], 20).indices.tolist())
        assert line.kept == len(whole & other)
        assert line.jaccard == len(whole & other) / len(whole | other)


def test_leave_out_checkpoints_weighs_the_others():
    parts, weights = [matrix(1), matrix(2), matrix(3)], [0.5, 0.3, 0.2]
    total = 0.5 * parts[0] + 0.3 * parts[1] + 0.2 * parts[2]
    frame = leave_out_checkpoints(make_request(total, 20), per_checkpoint=parts, weights=weights)
    whole = set(select(total, 20).indices.tolist())
    other = set(select(0.5 * parts[0] + 0.3 * parts[1], 20).indices.tolist())
    assert frame["kept"][2] == len(whole & other)


def test_checkpoint_agreement_is_correlation():
    first, second = matrix(1, 400), matrix(1, 400) + 0.5 * matrix(2, 400)
    frame = checkpoint_agreement([first, second, -first])
    expected = np.mean([np.corrcoef(first[:, j], second[:, j])[0, 1] for j in range(6)])
    assert frame["correlation"][0] == pytest.approx(expected)
    ranks = [pd.Series(first[:, j]).corr(pd.Series(second[:, j]), "spearman") for j in range(6)]
    assert frame["rank_correlation"][0] == pytest.approx(np.mean(ranks))
    assert frame["correlation"][1] == pytest.approx(-1)
    assert frame["top_shared"][1] == 0
    assert 0.3 < frame["top_shared"][0] < 1


def test_what_can_not_be_left_out_is_said():
    with pytest.raises(MatrixError, match="needs `tasks`"):
        leave_one_out(make_request(matrix(), 5))
    with pytest.raises(MatrixError, match="leaves nothing"):
        leave_one_out(make_request(matrix(), 5, tasks=["a"] * 6))
    with pytest.raises(MatrixError, match="at least two"):
        leave_out_checkpoints(make_request(matrix(), 5), per_checkpoint=[matrix()], weights=[1.0])
    with pytest.raises(MatrixError, match="0 picks"):
        along_picks([])
