"""The page of a matrix alone: in the style of a run's, with or without selections."""

import numpy as np
import pytest

from bids_core.diagnostics import analyze
from bids_core.report import write_analysis
from bids_core.selection import select

TASKS = ["math"] * 3 + ["code"] * 3


@pytest.fixture
def matrix():
    return np.random.default_rng(0).normal(size=(80, 6)).astype(np.float32)


def test_a_pool_alone_has_a_page(matrix, tmp_path):
    write_analysis(analyze(matrix), tmp_path / "plots.html", matrix, name="a <matrix>")
    page = (tmp_path / "plots.html").read_text()
    assert "nothing was selected from it" in page
    assert "a &lt;matrix&gt;" in page
    assert 'id="influence"' in page
    assert 'id="harmful"' in page
    for absent in ('id="picks"', 'id="missed"', 'id="data"', 'id="setup"', "http://localhost"):
        assert absent not in page


def test_selections_are_listed_with_their_texts(matrix, tmp_path):
    chosen = {"bids": select(matrix, 8, tasks=TASKS), "mine": np.array([3, 1, 2])}
    texts = [f"text number {i}" for i in range(80)]
    found = analyze(matrix, chosen, tasks=TASKS, texts=texts)
    write_analysis(
        found, tmp_path / "plots.html", matrix, chosen, tasks=TASKS, texts=texts,
        sources=["one", "two"] * 40,
    )  # fmt: skip
    page = (tmp_path / "plots.html").read_text()
    assert "BIDS</strong> chose <strong>8 of 80" in page
    assert f"text number {chosen['bids'].indices[0]}" in page
    assert "default-src 'none'" in page
    for part in ("picks", "missed", "stability", "harmful", "glossary"):
        assert f'id="{part}"' in page
    assert "nan" not in page.partition('id="packed-index"')[0].lower()


def test_rows_alone_have_no_utility(matrix, tmp_path):
    chosen = {"mine": np.array([3, 1, 2])}
    write_analysis(analyze(matrix, chosen), tmp_path / "plots.html", matrix, chosen)
    page = (tmp_path / "plots.html").read_text()
    assert 'class="picks unvalued"' in page
    assert "mine</strong> chose <strong>3 of 80" in page
