"""Selection alone, as a flow."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from bids_core.errors import ConfigError, UserError
from bids_core.selection import select
from flows.select_matrix import MatrixSelection, select_matrix


@pytest.fixture
def matrix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    np.save(tmp_path / "matrix.npy", values)
    (tmp_path / "tasks.txt").write_text("a\na\na\nb\nb\nb\n")
    return values


@pytest.mark.usefixtures("prefect_server")
def test_it_writes_what_select_picks(matrix, tmp_path):
    request = MatrixSelection(
        matrix="matrix.npy", out="deep/picks.parquet", method="less", budget=7, tasks="tasks.txt"
    )
    picks = select_matrix(request)
    expected = select(matrix, 7, method="less", tasks=list("aaabbb")).indices.tolist()
    assert pd.read_parquet(tmp_path / "deep" / "picks.parquet")["row"].tolist() == expected
    assert (picks.rows, picks.selected, sum(picks.picks_per_task.values())) == (40, 7, 7)


@pytest.mark.parametrize(
    ("change", "key"), [({"budget": 0}, "budget"), ({"method": "best"}, "method")]
)
def test_a_wrong_value_is_named(change, key):
    with pytest.raises(ValidationError, match=key):
        MatrixSelection(matrix="m.npy", out="o.npy", **change)


@pytest.mark.parametrize(
    ("change", "environment", "error", "words"),
    [
        ({"matrix": "none.npy"}, "", UserError, "none.npy"),
        ({"method": "none.py:pick"}, "", UserError, "cannot be imported"),
        (
            {"method": "mine.py:pick"},
            "inside",
            ConfigError,
            "method: this machine does not run code",
        ),
        ({"out": "picks.xlsx"}, "", UserError, "suffix"),
        ({"out": "/elsewhere/picks.npy"}, "inside", ConfigError, "out: '/elsewhere"),
    ],
)
def test_what_can_not_work_is_refused(
    matrix, tmp_path, monkeypatch, change, environment, error, words
):
    if environment:
        monkeypatch.setenv("BIDS_ALLOWED_PATHS", str(tmp_path))
    request = MatrixSelection(**{"matrix": "matrix.npy", "out": "picks.npy"} | change)
    with pytest.raises(error, match=words):
        select_matrix.fn(request)
