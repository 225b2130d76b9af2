"""Rows of a comparison add up to what a task reports, whether it averages rows or parts."""

from __future__ import annotations

import pandas as pd
import pytest

from bids_core.errors import ArtifactError
from tasks.samples import row_scores


def test_parts_of_a_task_count_alike_where_the_task_says_so():
    samples = pd.DataFrame(
        {"task": ["tydiqa"] * 4 + ["mmlu"] * 3, "part": ["p", "p", "p", "q", "x", "x", "y"],
         "score": [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0]}
    )  # fmt: skip
    reported = pd.Series({"tydiqa": (2 / 3 + 1) / 2, "mmlu": 1 / 3})
    scores = row_scores(samples, reported)
    assert scores[:4].mean() == pytest.approx(reported["tydiqa"])
    assert scores[4:].tolist() == [1.0, 0.0, 0.0]
    with pytest.raises(ArtifactError, match="does not equal its score"):
        row_scores(samples, pd.Series({"tydiqa": 0.1, "mmlu": 1 / 3}))


def test_a_task_without_score_stays_without():
    samples = pd.DataFrame({"task": ["a"], "correct": pd.array([None], "boolean")})
    assert pd.isna(row_scores(samples, pd.Series({"a": float("nan")}))[0])
