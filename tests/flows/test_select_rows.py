"""The pipeline in one Python call: rows in memory, a model, validation rows; picks come back."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest
from tiny_project import rows

import bids_core
from bids_core.errors import ConfigError, DataError
from bids_select import select_rows

TASKS = ("add", "max", "min")
VALIDATION = {task: rows(task, 50, 53) for task in TASKS}


@pytest.fixture
def quick(tmp_path, tiny_model_folder):
    """Arguments of a run that takes seconds."""
    settings = {
        "data.max_length": 64,
        "lora": {"r": 2, "alpha": 4, "dropout": 0.0},
        "warmup": {"epochs": 2, "batch_size": 8, "learning_rate": 0.01},
        "gradients": {"projection": "rademacher", "dim": 64},
    }
    return {
        "model": {"path": str(tiny_model_folder), "dtype": "float32", "device": "cpu"},
        "settings": settings,
        "output_dir": tmp_path / "runs",
        "store": tmp_path / "store",
    }


def test_rows_in_and_the_same_rows_out(prefect_server, quick):
    pool = [{"prompt": "no answer?", "completion": ""}, *rows("add", 0, 20), *rows("max", 0, 8)]
    pool[3] = {"id": "mine", "when": datetime.date(2026, 1, 2), **pool[3]}
    found = select_rows(pool, VALIDATION, budget=6, **quick)

    assert found.rows == [pool[place] for place in found.indices]
    assert len(found) == len(found.selection) == 6
    assert 0 not in found.indices  # the row without an answer
    assert found.rejects["reason"].tolist() == ["empty-completion"]
    frame = found.selection.to_frame()
    assert set(frame["winning_task"]) <= set(TASKS)
    assert set(frame["source"]) == {"pool"}
    assert found.report.is_file()
    assert "6 of 28 rows, picked by bids (zscore), 1 rejected; report" in repr(found)

    again = bids_core.select(found.matrix, 6)
    np.testing.assert_array_equal(again.indices, found.selection.indices)
    assert bids_core.explain(found.matrix, found.selection, found.selection[0]).rank == 1
    assert set(bids_core.analyze(found.matrix, again).tables["aid_tasks"]["task"]) == set(TASKS)


def test_sources_by_name_as_frames_and_data_sets(prefect_server, quick):
    from datasets import Dataset

    pool = {
        "sums": pd.DataFrame(rows("add", 0, 12)).assign(note=[np.nan, *["x"] * 11]),
        "most": Dataset.from_list(rows("max", 0, 8)),
    }
    found = select_rows(
        pool, VALIDATION, budget="25%", capabilities={"add": "math"}, method="less", **quick
    )
    everything = [*rows("add", 0, 12), *rows("max", 0, 8)]
    assert [row["prompt"] for row in found.rows] == [
        everything[place]["prompt"] for place in found.indices
    ]
    assert set(found.selection.to_frame()["source"]) <= {"sums", "most"}
    assert dict(zip(found.matrix.labels.tasks, found.matrix.labels.capabilities, strict=True)) == {
        "add": "math", "max": "max", "min": "min",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pool": "rows.jsonl"}, "`pool` must be rows, not the path 'rows.jsonl'"),
        ({"pool": []}, "`pool` has no rows"),
        ({"pool": ["a text"]}, "`pool`: row 0 is str 'a text'; rows are dictionaries"),
        ({"pool": [{"prompt": "p", "completion": {1, 2}}]}, "row 0 cannot be written as JSON"),
        ({"pool": [{"prompt": "p", "n": float("inf")}]}, "row 0 cannot be written as JSON"),
        ({"validation": [{}]}, "`validation` must be a dictionary from task to rows, not list"),
        ({"validation": {"add": 3}}, r"`validation\['add'\]` must be a list of dictionaries"),
        ({"capabilities": {"ad": "math"}}, "`capabilities` names task 'ad', which is not in"),
        ({"settings": {"warmup.epoch": 2}}, "warmup.epoch: unknown key; did you mean 'epochs'"),
        ({"settings": {"pool": []}}, "'pool' cannot be set here"),
        ({"budget": "many"}, "selection.budget"),
    ],
)
def test_wrong_arguments_are_one_clear_line(quick, changes, message):
    arguments = {"pool": rows("add", 0, 3), "validation": VALIDATION} | quick | changes
    with pytest.raises((DataError, ConfigError), match=message):
        select_rows(arguments.pop("pool"), arguments.pop("validation"), **arguments)
