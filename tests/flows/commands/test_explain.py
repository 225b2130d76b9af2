"""`bids explain` on a run folder made by hand."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import typer
import zarr
from hand_made_run import make_run
from typer.testing import CliRunner

from bids_core.errors import UserError
from flows.commands.explain import explain

app = typer.Typer()
app.command()(explain)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), [f"r{i}" for i in range(40)])


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_pick_with_its_texts(run_folder):
    folder, picks = run_folder
    result = run(folder, "rank:2", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["row_id"] == f"r{picks.indices[1]}"
    assert found["rank"] == 2
    assert found["winner"]["validation_id"] == f"v{picks.winning_columns[1]}"
    assert found["texts"][found["winner"]["validation_id"]].startswith("user: Validation v")
    assert found["texts"][found["row_id"]].endswith("assistant: Yes.")
    assert found["instead"] in found["texts"]


def test_a_pick_and_a_row_that_was_not_picked_for_people(run_folder):
    folder, picks = run_folder
    shown = run(folder, f"r{picks.indices[0]}").stdout
    assert "Pick 1 of 8 of bids" in shown
    assert "takes its rank" in shown
    other = next(i for i in range(40) if i not in picks.indices)
    shown = run(folder, f"r{other}").stdout
    assert "Not among the 8 picks of bids" in shown
    assert "It enters at a budget of" in shown


LANDMARKS = [row if row < 10 else row % 10 for row in range(40)]
ERRORS = np.array([0.0 if row < 10 else 0.25 + row for row in range(40)], dtype=np.float32)


@pytest.mark.parametrize("knows_landmarks", [True, False])
def test_a_row_whose_influence_was_inferred_says_from_which_landmark(tmp_path, knows_landmarks):
    inferred = {"expected_error": ERRORS} | ({"landmark": LANDMARKS} if knows_landmarks else {})
    folder, _ = make_run(tmp_path, [f"r{i}" for i in range(40)], inferred=inferred)
    found = json.loads(run(folder, "r23", "--json").stdout)
    name = "r3" if knows_landmarks else None
    assert found["inferred"] == {"landmark": name, "expected_error": 23.25}
    shown = " ".join(run(folder, "r23").stdout.split())
    assert f"it was taken from {'landmark r3' if knows_landmarks else 'a landmark'}, the" in shown
    assert "Expected error: 23.2 standard deviations" in shown
    assert ("Pool r3?" in shown) == knows_landmarks
    exact = run(folder, "r3", "--json")
    assert json.loads(exact.stdout)["inferred"] is None
    assert "not computed" not in run(folder, "r3").stdout


def test_landmarks_beyond_the_matrix_are_damage(tmp_path):
    inferred = {"expected_error": ERRORS, "landmark": [*LANDMARKS[:-1], 40]}
    folder, _ = make_run(tmp_path, [f"r{i}" for i in range(40)], inferred=inferred)
    assert "landmark names a row beyond the matrix" in str(run(folder, "r23").exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["r40"], "no row 'r40'; the nearest are"),
        (["rank:9"], "from 1 to 8"),
        (["r1", "--method", "less"], "no selection of method 'less'"),
    ],
)
def test_a_mistake_is_one_clear_line(run_folder, arguments, message):
    result = run(run_folder[0], *arguments)
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)


def test_what_does_not_exist_is_not_taken_for_a_folder(tmp_path):
    missing = str(run(tmp_path / "p.csv", "r1").exception)
    assert "p.csv does not exist; give a run's folder, or picks" in missing


def test_a_folder_without_a_run_is_one_clear_line(tmp_path):
    result = run(tmp_path, "r1")
    assert isinstance(result.exception, UserError)
    assert "no manifest.json" in str(result.exception)


ODD = ["rank:1", "-x", "--y", "pool:2", "pool:pool:2", "a b", "3"]


@pytest.fixture(scope="module")
def odd_folder(tmp_path_factory):
    names = ODD + [f"r{i}" for i in range(40 - len(ODD))]
    return make_run(tmp_path_factory.mktemp("odd"), names)


@pytest.mark.parametrize("name", ODD)
def test_a_row_is_found_whatever_its_id_looks_like(odd_folder, name):
    from typer.testing import CliRunner

    from flows.cli import app as bids

    folder, picks = odd_folder
    result = CliRunner().invoke(bids, ["explain", str(folder), name, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["row_id"] == name
    place = [int(i) for i in picks.indices]
    assert found["rank"] == (place.index(ODD.index(name)) + 1 if ODD.index(name) in place else None)
    second = CliRunner().invoke(bids, ["explain", str(folder), "rank:2", "--json"])
    assert json.loads(second.stdout)["rank"] == 2


def test_a_rejected_row_says_why_it_is_not_in_the_pool(tmp_path):
    folder, _ = make_run(tmp_path, [f"r{i}" for i in range(40)])
    reject = {
        "location": "data/train.jsonl:8", "reason": "empty-completion",
        "detail": "the assistant's turn 2 is blank; add the answer or remove the row",
        "split": "train", "source": "train", "row_id": None,
    }  # fmt: skip
    (folder / "rejects.jsonl").write_text(json.dumps(reject) + "\n")
    for name in ("train:8", "train.jsonl:8", "data/train.jsonl:8"):
        result = run(folder, name)
        assert result.exit_code != 0
        assert "because it was rejected: data/train.jsonl:8: empty-completion" in str(
            result.exception or result.output
        )
    assert "has no row 'train:9'" in str(run(folder, "train:9").exception)


def test_a_row_is_found_by_file_and_line(tmp_path):
    folder, _ = make_run(tmp_path, [f"r{i}" for i in range(40)])
    (folder / "explain").mkdir()
    frame = pd.DataFrame(
        {
            "row_id": [f"r{i}" for i in range(40)],
            "source": "s",
            "location": [f"data/train.jsonl:{i + 1}" for i in range(40)],
            "messages": '[{"role": "user", "content": "Pool"}]',
        }
    )
    frame.to_parquet(folder / "explain" / "pool.parquet")
    assert json.loads(run(folder, "train.jsonl:3", "--json").stdout)["row_id"] == "r2"


@pytest.mark.parametrize("name", ["m.npy", "m.parquet", "m.csv", "m.zarr"])
def test_a_matrix_in_place_of_picks_gets_the_commands_that_are_needed(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).normal(size=(9, 3))
    frame = pd.DataFrame(values, columns=list("abc")).assign(row_id=[f"r{i}" for i in range(9)])
    if name == "m.npy":
        np.save(name, values)
    elif name == "m.zarr":
        zarr.save_array(name, values)
    else:
        getattr(frame, f"to_{name[2:]}")(name, index=False)
    result = CliRunner().invoke(app, [name, "3"])
    assert f"{name} is an attribution matrix" in str(result.exception)
    assert f"bids select {name} --budget N --out picks.parquet" in str(result.exception)
