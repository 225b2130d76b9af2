"""The page: whole, escaped, without script or network."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bids_core.comparison import Results, compare, suite_table
from bids_core.report.comparison_page import ComparisonInputs, build_comparison_page


def inputs(n_rows=(10, 20)):
    generator = np.random.default_rng(0)
    rows = [
        (method, budget, seed, task, f"{task}{i}", float(generator.random() < 0.5), 1.0)
        for method in ("bids", "<b>less</b>", "random", "sum", "quota")
        for budget in n_rows
        for seed in range(2)
        for task in ("add & sub", "min")
        for i in range(6)
    ]
    columns = ["method", "n_rows", "seed", "task", "row_id", "score", "answer_loss"]
    samples = pd.DataFrame(rows, columns=columns)
    found = compare(Results.of(samples, {"add & sub": "math", "min": "logic"}), "bids", draws=200)
    costs = found.arms[["method", "n_rows"]].assign(
        tokens=1e4, selection_seconds=0.1, finetune_seconds=10.0, evaluation_seconds=2.0,
        shared_seconds=np.nan, peak_memory_bytes=1e9,
    )  # fmt: skip
    return ComparisonInputs(
        name="<script>alert(1)</script>", created="2026-01-01T00:00:00+00:00", model="m",
        n_pool=100, comparison=found, costs=costs, failed=[("less 20", "finetune: <i>no</i>")],
    )  # fmt: skip


def test_the_page_is_whole_and_escaped():
    page = build_comparison_page(inputs())
    assert "<script" not in page
    assert "<b>less" not in page
    assert "<i>no" not in page
    assert "add &amp; sub" in page
    assert not re.search(r"https?://(?!www\.w3\.org)", page)
    for part in ("summary", "methods", "differences", "tasks", "costs", "how"):
        assert f'id="{part}"' in page
    assert "Missing here:" in page
    # for a screen and a phone: over budgets; twice by score and by answer loss
    assert page.count('role="img"') == 2 * 5
    assert "nan" not in page.lower().replace("finance", "")


def test_one_budget_has_no_line_and_still_a_page():
    assert 'class="curve"' not in build_comparison_page(inputs(n_rows=(10,))).partition("<main>")[2]


def test_suites_are_averaged_over_their_own_tasks_and_capabilities():
    tasks = pd.DataFrame(
        {"method": "bids", "n_rows": 10, "task": ["a", "b", "c", "own", "none"],
         "capability": ["x", "x", "y", "x", "y"], "score": [0.2, 0.4, 0.9, 1.0, np.nan]}
    )  # fmt: skip
    (row,) = suite_table(tasks, {"one": ["a", "b", "c", "d"], "two": []}).to_dict("records")
    assert (row["suite"], row["n_tasks"], row["of"]) == ("one", 3, 4)
    assert row["macro"] == pytest.approx(0.5)
    assert row["macro_capability"] == pytest.approx(0.6)
    page = build_comparison_page(replace(inputs(), suites={"bids7": ["min", "mmlu"]}))
    assert "1 of 2" in page.partition('id="suites"')[2]
    assert 'id="suites"' not in build_comparison_page(inputs())
