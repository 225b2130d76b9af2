"""Picks in a CSV file: no cell that a spreadsheet would compute, and the same picks read back."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from bids_core.influence.labels import Labels
from bids_core.selection import select
from bids_core.selection.files import read_selection, write_selection

HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "'=quoted", "plain", "a=b", "'q'"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_ids_that_look_like_formulas(tmp_path, suffix):
    matrix = np.random.default_rng(0).normal(size=(len(HOSTILE), 3))
    labels = Labels(
        len(HOSTILE), 3, HOSTILE, ["=v1", "v2", "+v3"], ("=t", "@t", "t"),
        sources=tuple(HOSTILE),
    )  # fmt: skip
    picks = select(matrix, len(HOSTILE), tasks=labels.tasks)
    path = tmp_path / f"picks{suffix}"
    write_selection(path, picks, labels)
    assert read_selection(path, labels).indices.tolist() == picks.indices.tolist()
    if suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        texts = [row[name] for row in rows for name in ("row_id", "source", "winning_task")]
        assert not [text for text in texts if text[:1] in ("=", "+", "-", "@", "\t", "\r")]
        assert {"'=1+1", "'-1", "plain"} <= set(texts)
