"""Every page with texts that look like markup, opened in Chromium: no script of theirs runs."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bids_core.comparison import Results, compare
from bids_core.diagnostics.analysis import analyze
from bids_core.report import build_report, write_analysis
from bids_core.report.comparison_page import ComparisonInputs, build_comparison_page
from bids_core.selection import select

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]
MARK = "document.documentElement.setAttribute('data-ran','1')"
HOSTILE = (
    f'</script><script>{MARK}</script>"><img src=x onerror="{MARK}"><svg onload="{MARK}"></svg>'
    f'<a href="javascript:{MARK}">a</a>\'`{{{{ 7*7 }}}}<!--'
)


def opened(path, tmp_path):
    """Return the page's document after its scripts have run."""
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
         "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
         "--virtual-time-budget=3000", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return done.stdout


def head(document):
    return document.partition("<head")[0]


def test_the_browser_would_tell(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><html><body>{HOSTILE}</body></html>")
    assert "data-ran" in head(opened(page, tmp_path))


def test_the_report(full_inputs, scored, tmp_path):
    selections = {
        method: frame.assign(source=HOSTILE) for method, frame in full_inputs.selections.items()
    }
    tasks = [HOSTILE + task for task in full_inputs.tasks]
    selections["bids"] = selections["bids"].assign(winning_task=tasks[0])
    turns = json.dumps([{"role": HOSTILE, "content": HOSTILE}] * 2)
    page = tmp_path / "report.html"
    page.write_text(build_report(replace(
        full_inputs, name=HOSTILE, model=HOSTILE, config={"name": HOSTILE},
        sources=[HOSTILE] * 39 + ["other"], tasks=tasks,
        validation_ids=[HOSTILE + name for name in full_inputs.validation_ids],
        selections=selections, conversations=dict.fromkeys(full_inputs.conversations, turns),
        **scored(full_inputs.scores.assign(task=HOSTILE + full_inputs.scores["task"])),
        timings={HOSTILE: {"seconds": 1.0, "cached": False}}, versions={HOSTILE: HOSTILE},
    )))  # fmt: skip
    document = opened(page, tmp_path)
    assert "data-ran" not in head(document)
    assert "{{ 7*7 }}" in document


def test_the_analysis(tmp_path):
    matrix = np.random.default_rng(0).normal(size=(30, 6))
    labels = {
        "tasks": [HOSTILE + str(i % 2) for i in range(6)],
        "sources": [HOSTILE] * 30,
        "texts": [HOSTILE + str(i) for i in range(30)],
        "row_ids": [HOSTILE + str(i) for i in range(30)],
        "validation_ids": [HOSTILE + str(i) for i in range(6)],
    }
    chosen = {HOSTILE: select(matrix, 5, tasks=labels["tasks"])}
    page = tmp_path / "plots.html"
    write_analysis(analyze(matrix, chosen, **labels), page, matrix, chosen, name=HOSTILE, **labels)
    document = opened(page, tmp_path)
    assert "data-ran" not in head(document)
    assert "{{ 7*7 }}" in document


def test_the_comparison(tmp_path):
    rows = [
        (method, n, 0, task, f"{task}{i}", float(i % 2), 1.0)
        for method in ("bids", HOSTILE, "random") for n in (10, 20)
        for task in (HOSTILE, "min") for i in range(6)
    ]  # fmt: skip
    columns = ["method", "n_rows", "seed", "task", "row_id", "score", "answer_loss"]
    results = Results.of(pd.DataFrame(rows, columns=columns), {HOSTILE: HOSTILE, "min": "logic"})
    found = compare(results, "bids", draws=50)
    costs = found.arms[["method", "n_rows"]].assign(
        tokens=1e4, selection_seconds=0.1, finetune_seconds=10.0, evaluation_seconds=2.0,
        shared_seconds=np.nan, peak_memory_bytes=1e9,
    )  # fmt: skip
    page = tmp_path / "comparison.html"
    page.write_text(build_comparison_page(ComparisonInputs(
        name=HOSTILE, created="2026-01-01T00:00:00+00:00", model=HOSTILE, n_pool=100,
        comparison=found, costs=costs, failed=[(HOSTILE, HOSTILE)],
    )))  # fmt: skip
    document = opened(page, tmp_path)
    assert "data-ran" not in head(document)
    assert "{{ 7*7 }}" in document
