"""`bids audit` on matrix files, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

TASKS = ["math"] * 3 + ["code"] * 3


@pytest.fixture
def matrix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).standard_normal((60, 6)).astype(np.float32)
    values[[4, 40]] -= 4
    np.save("a.npy", values)
    (tmp_path / "tasks.txt").write_text("\n".join(TASKS), encoding="utf-8")
    (tmp_path / "texts.txt").write_text(
        "".join(f"row {i} [bold]\n" for i in range(60)), encoding="utf-8"
    )
    return tmp_path


def test_the_harmful_rows_of_a_matrix_file(matrix, bids):
    options = ("--tasks", "tasks.txt", "--texts", "texts.txt", "--budget", "10", "--near", "3")
    status, out, err = bids("audit", "a.npy", *options, "--json")
    assert status == 0, err
    found = json.loads(out)
    assert {row["row"] for row in found["found"][:2]} == {4, 40}
    assert found["found"][0]["reason"] == "likely_wrong"
    assert found["found"][0]["text"].startswith("row ")
    assert found["counts"]["near_miss"] == 3
    assert found["found"][-1]["covered_by"] is not None
    status, out, _ = bids("audit", "a.npy", *options)
    assert status == 0
    assert "[bold]" in out  # texts are shown as they are
    assert "read the rows before you drop them" in " ".join(out.split())


def test_rows_of_one_reason_of_which_some_are_picked_are_shown(matrix, bids):
    values = np.load("a.npy")
    values[[10, 20, 30], :3] += 4
    values[[10, 20, 30], 3:] -= 3
    np.save("b.npy", values)
    status, out, err = bids("audit", "b.npy", "--tasks", "tasks.txt", "--budget", "1")
    assert status == 0, err
    part = out[out.index("one_sided:") : out.index("near_miss:")]
    ranks = {line.split("│")[4].strip() for line in part.splitlines() if line.count("│") > 3}
    assert "-" in ranks  # not picked
    assert any(rank.isdigit() for rank in ranks)
    assert "covered by" in out


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_the_list_is_written(matrix, bids, suffix):
    status, _, err = bids("audit", "a.npy", "--tasks", "tasks.txt", "--out", f"list.{suffix}")
    assert status == 0, err
    path = matrix / f"list.{suffix}"
    if suffix == "jsonl":
        frame = pd.read_json(path, lines=True)
    else:
        frame = pd.read_csv(path) if suffix == "csv" else pd.read_parquet(path)
    assert {"row_id", "source", "text", "reason", "harm", "best_task", "worst"} <= set(frame)
    assert set(frame["row_id"].astype(int)[:2]) == {4, 40}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.npy", "--out", "list.xlsx"], "the suffix must be one of .parquet, .csv, .jsonl"),
        (["nowhere.npy"], "nowhere.npy does not exist"),
        (["."], "has no manifest.json"),
        (["a.npy", "--budget", "100"], "more than the 60 rows"),
        (["a.npy", "--budget", "some"], "not a number"),
    ],
)
def test_a_mistake_is_one_clear_line(matrix, bids, arguments, words):
    status, _, err = bids("audit", *arguments)
    assert status == 2
    assert words in " ".join(err.split())
    assert "Traceback" not in err


@pytest.mark.usefixtures("prefect_server")
def test_a_run_by_its_folder_and_by_its_configuration(project, bids):
    config = project / "bids.yaml"
    status, _, err = bids("audit", config)
    assert status == 2
    assert "has not been run yet; run `bids run" in " ".join(err.split())
    assert bids("run", config, "--until", "prepare")[0] == 0
    status, _, err = bids("audit", project / "runs" / "tiny")
    assert status == 2
    assert "no attribution matrix yet" in " ".join(err.split())
    assert bids("run", config, "--until", "selection")[0] == 0
    found = [json.loads(bids("audit", target, "--json")[1]) for target in
             (config, project / "runs" / "tiny")]  # fmt: skip
    assert found[0] == found[1]
    assert found[0]["rows"] == 32
    assert found[0]["counts"]["near_miss"] == 20
    first = found[0]["found"][0]
    assert first["source"] in ("add", "max", "min")
    assert first["text"].split()[0] in ("add", "max", "min")
    page = (project / "runs" / "tiny" / "report.html").read_text(encoding="utf-8")
    assert "Rows that hurt" in page
    config.write_text(config.read_text(encoding="utf-8").replace("dim: 64", "dim: 32"))
    status, _, err = bids("audit", config)
    assert status == 2
    assert "gradients changed since" in " ".join(err.split())
