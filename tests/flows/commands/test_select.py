"""`bids select` and `bids analyze` on the files that people have."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from bids_core.errors import UserError
from bids_core.selection import select as select_rows
from flows.budget import budget_option
from flows.commands.analyze import analyze
from flows.commands.select import select

app = typer.Typer()
app.command()(select)
app.command()(analyze)
TASKS = ["math", "math", "code", "logic"]


@pytest.fixture
def matrix():
    return np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)


@pytest.fixture
def files(tmp_path, matrix):
    """The same matrix in every form, and its tasks in every form."""
    import zarr

    names = [f"v{j}" for j in range(4)]
    frame = pd.DataFrame(matrix, columns=names).assign(row_id=[f"r{i}" for i in range(50)])
    np.save(tmp_path / "a.npy", matrix)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_csv(tmp_path / "a.csv", index=False)
    zarr.create_array(tmp_path / "a.zarr", data=matrix, chunks=(16, 4))
    (tmp_path / "tasks.txt").write_text("\n".join(TASKS) + "\n")
    (tmp_path / "tasks.json").write_text(json.dumps(dict(zip(names, TASKS, strict=True))))
    pd.DataFrame({"validation_id": names, "task": TASKS}).to_csv(tmp_path / "tasks.csv")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def as_json(*arguments):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", ["a.npy", "a.zarr", "a.parquet", "a.csv"])
def test_select_reads_every_kind_of_matrix(files, matrix, name):
    found = as_json("select", files / name, "--budget", "0.2")
    assert found["indices"] == select_rows(matrix, 0.2).indices.tolist()
    assert (found["rows"], found["columns"], found["selected"]) == (50, 4, 10)


@pytest.mark.parametrize("tasks", ["tasks.txt", "tasks.json", "tasks.csv"])
def test_select_reads_every_kind_of_tasks(files, matrix, tasks):
    found = as_json("select", files / "a.parquet", "--budget", 9, "--method", "less",
                    "--tasks", files / tasks)  # fmt: skip
    expected = select_rows(matrix, 9, method="less", tasks=TASKS)
    assert found["indices"] == expected.indices.tolist()
    assert sum(found["picks_per_task"].values()) == 9


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".json", ".npy", ".txt"])
def test_a_selection_is_written_and_read_back(files, matrix, suffix):
    out = files / f"picks{suffix}"
    as_json("select", files / "a.parquet", "--budget", 9, "--out", out)
    rows = select_rows(matrix, 9).indices
    found = as_json("analyze", files / "a.parquet", "--selection", out, "--tasks",
                    files / "tasks.txt")  # fmt: skip
    assert found["sets"] == {"pool": 50, "picks": 9}
    aid = [line["aid"] for line in found["tables"]["aid_instances"] if line["set"] == "picks"]
    np.testing.assert_allclose(aid, matrix[rows].astype(float).mean(axis=0), rtol=1e-12)
    thi = [line for line in found["tables"]["thi"] if line["set"] == "picks"]
    assert sum(line["by_task_mean"] for line in thi) == 9
    assert ("utility" in found["tables"]) == (suffix in (".parquet", ".csv", ".json"))


def test_the_written_picks_name_rows_and_winners(files):
    out = files / "picks.parquet"
    run("select", files / "a.parquet", "--budget", 5, "--out", out, "--tasks", files / "tasks.csv")
    frame = pd.read_parquet(out)
    assert frame["rank"].tolist() == [1, 2, 3, 4, 5]
    assert frame["row_id"].tolist() == [f"r{row}" for row in frame["row"]]
    assert set(frame["winning_task"]) <= set(TASKS)
    assert set(frame["winning_validation"]) <= {"v0", "v1", "v2", "v3"}


def test_the_attribution_artifact_brings_its_names(tmp_path, matrix):
    write_attribution(tmp_path / "m.zarr", matrix)
    found = as_json("select", tmp_path / "m.zarr", "--budget", 9, "--method", "less")
    assert set(found["picks_per_task"]) <= set(TASKS)


def test_methods_that_need_no_influence_need_no_matrix(tmp_path):
    pool = [{"row_id": f"p{i}", "text": f"add {i} and {i + 1}"} for i in range(8)]
    pool += [{"row_id": "py", "messages": [{"role": "user", "content": "write python code"}]}]
    (tmp_path / "pool.jsonl").write_text("\n".join(json.dumps(row) for row in pool))
    (tmp_path / "val.txt").write_text("python code\nadd 3\n")
    (tmp_path / "tasks.txt").write_text("code\nmath\n")
    given = ["--texts", tmp_path / "pool.jsonl", "--validation-texts", tmp_path / "val.txt",
             "--tasks", tmp_path / "tasks.txt"]  # fmt: skip
    out = tmp_path / "picks.txt"
    found = as_json("select", "--budget", 2, "--method", "bm25", *given, "--out", out)
    assert out.read_text().startswith("py\n")
    assert (found["rows"], found["columns"]) == (9, 2)
    assert len(as_json("select", "--budget", 2, "--method", "dsir", *given)["indices"]) == 2
    np.save(tmp_path / "h.npy", np.random.default_rng(0).standard_normal((9, 4)))
    np.save(tmp_path / "v.npy", np.random.default_rng(1).standard_normal((2, 4)))
    states = ["--representations", tmp_path / "h.npy",
              "--validation-representations", tmp_path / "v.npy"]  # fmt: skip
    for method in ("rds", "rds_plus"):
        found = as_json("select", "--budget", 2, "--method", method, *states,
                        "--tasks", tmp_path / "tasks.txt")  # fmt: skip
        assert len(found["indices"]) == 2
    (tmp_path / "ppl.txt").write_text("3.5\n1.5\n2.5\n")
    given = ["--perplexities", tmp_path / "ppl.txt", "--method", "perplexity_low"]
    assert as_json("select", "--budget", 2, *given)["indices"] == [1, 2]


def test_tables_are_readable(files):
    result = run("select", files / "a.npy", "--budget", "10%", "--tasks", files / "tasks.txt")
    assert "5 of 50 rows selected with bids (zscore)" in result.stdout
    result = run("analyze", files / "a.npy", "--tasks", files / "tasks.txt")
    assert "math" in result.stdout
    assert "THI" in result.stdout


def test_analyze_selects_compares_and_writes(files):
    out, texts = files / "analysis", files / "texts.txt"
    texts.write_text("\n".join(["the same text for every row of it"] * 50))
    found = as_json(
        "analyze", files / "a.npy", "--tasks", files / "tasks.txt", "--budget", "0.2",
        "--method", "bids", "--method", "random", "--leave-out", "task", "--leave-out", "instance",
        "--texts", texts, "--out", out,
    )  # fmt: skip
    assert set(found["sets"]) == {"pool", "bids", "random"}
    assert len(found["tables"]["without_task"]) == 3
    assert len(found["tables"]["without_instance"]) == 4
    assert len(found["tables"]["near_duplicates"]) == 90
    assert {path.name for path in out.iterdir()} >= {
        "analysis.json", "plots.html", "aid_tasks.parquet", "overlap.parquet", "utility.parquet",
    }  # fmt: skip
    assert json.loads((out / "analysis.json").read_text())["sets"]["bids"] == 10
    result = run("analyze", files / "a.npy", "--budget", 5, "--tasks", files / "tasks.txt",
                 "--leave-out", "instance")  # fmt: skip
    for title in ("Mean difference of AID (zscore)", "along the pick order", "left out", "Picks"):
        assert title in result.stdout


def test_analyze_compares_checkpoints_where_the_matrix_keeps_them(tmp_path, matrix):
    folder = write_attribution(tmp_path / "m.zarr", matrix, checkpoints=2)
    found = as_json("analyze", folder, "--budget", 5, "--leave-out", "checkpoint")["tables"]
    assert found["checkpoint_agreement"][0]["correlation"] == pytest.approx(1)
    assert [line["share_kept"] for line in found["without_checkpoint"]] == [1, 1]


def write_attribution(folder, matrix, checkpoints=1):
    import zarr

    group = zarr.open_group(folder, mode="w", zarr_format=3)
    group.attrs["checkpoint_weights"] = [1.0 / checkpoints] * checkpoints
    group.create_array("attribution", data=matrix, chunks=(16, 4))
    for checkpoint in range(checkpoints):
        group.create_array(f"checkpoint_{checkpoint}", data=matrix, chunks=(16, 4))
    for name, values in {
        "row_ids": [f"r{i}" for i in range(50)],
        "validation_ids": [f"v{j}" for j in range(4)],
        "tasks": TASKS,
        "capabilities": TASKS,
        "subtasks": [""] * 4,
    }.items():
        group.create_array(name, data=np.array(values, dtype="T"))
    return folder


def test_a_column_that_is_left_out_is_named(files):
    values = np.random.default_rng(0).standard_normal((20, 3))
    values[:, 1] = 1.0
    np.save(files / "c.npy", values)
    result = run("select", files / "c.npy", "--budget", 3, "--json")
    assert "zero variance: column 1" in result.stderr
    assert json.loads(result.stdout)["left_out"] == ["column 1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.npy", "--budget", "3"], "does not exist"),
        (["a.npy", "--budget", "3", "--tasks", "no.txt"], "--tasks no.txt does not exist; name a"),
        (["a.npy", "--budget", "3", "--sources", "no.csv"], "--sources no.csv does not exist"),
        (["--budget", "1", "--perplexities", "no.npy"], "--perplexities no.npy does not exist"),
        (["tasks.txt", "--budget", "3"], "not a matrix file"),
        (["a.npy", "--budget", "51"], "more than the 50 rows"),
        (["a.npy", "--budget", "1.5"], "not a fraction"),
        (["a.npy", "--budget", "many"], "not a number"),
        (["a.npy", "--budget", "3", "--method", "bid"], "did you mean bids"),
        (["a.npy", "--budget", "3", "--out", "picks.xyz"], "suffix"),
        (["a.npy", "--budget", "3", "--method", "less"], "needs --tasks FILE"),
        (["a.npy", "--budget", "3", "--tasks", "short.txt"], "has 2 tasks but the matrix has 4"),
        (["a.npy", "--budget", "3", "--tasks", "none.txt"], "--tasks none.txt does not exist"),
        (["a.npy", "--budget", "3", "--tasks", "tasks.json"], "no label for validation_id '0'"),
        (["broken.npy", "--budget", "3"], "cannot be read as a numpy array"),
        (["pickle.npy", "--budget", "3"], "cannot be read as a numpy array"),
        (["broken.parquet", "--budget", "3"], "cannot be read as a table"),
        (["text.csv", "--budget", "3"], "column 'b' of"),
        (["--budget", "3"], "nothing to select from"),
        (["--budget", "1", "--perplexities", "tasks.txt"], "cannot be read as numbers"),
        (["--budget", "1", "--texts", "bad.jsonl"], "no `text`"),
    ],
)
def test_a_mistake_is_one_clear_line(files, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    (files / "short.txt").write_text("a\nb\n")
    (files / "broken.npy").write_bytes(b"nothing")
    (files / "broken.parquet").write_bytes(b"nothing")
    (files / "text.csv").write_text("a,b\n1,x\n")
    (files / "bad.jsonl").write_text('{"x": 1}\n')
    np.save(files / "pickle.npy", np.array([{}, {}]), allow_pickle=True)
    result = run("select", *arguments)
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert result.exception.exit_code == 2


@pytest.mark.parametrize(("text", "budget"), [("500", 500), ("0.15", 0.15), ("15%", 0.15)])
def test_budget_on_the_command_line(text, budget):
    assert budget_option(text) == budget
    assert type(budget_option(text)) is type(budget)


def test_importing_the_commands_is_light():
    code = (
        "import sys, flows.commands.select, flows.commands.analyze;"
        "heavy = {'numpy', 'torch', 'zarr', 'prefect', 'pandas'} & set(sys.modules);"
        "sys.exit(', '.join(heavy) or 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--leave-out", "task"], "needs --budget"),
        (["--leave-out", "row", "--budget", "3"], "choose one of task, instance, checkpoint"),
        (["--leave-out", "checkpoint", "--budget", "3"], "no influence of single checkpoints"),
        (["--selection", "bids.txt", "--budget", "3"], "both called 'bids'"),
        (["--selection", "gone.txt"], "--selection gone.txt does not exist"),
        (["--selection", "other.txt"], "row '99', which is not in the matrix"),
    ],
)
def test_a_mistake_in_an_analysis_is_one_clear_line(files, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    (files / "bids.txt").write_text("1\n2\n")
    (files / "other.txt").write_text("99\n")
    result = run("analyze", "a.npy", *arguments)
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)


def test_columns_that_a_z_score_is_doubtful_for_are_named(files):
    values = np.random.default_rng(0).standard_normal((500, 3))
    values[:, 1] = values[:, 1] ** 5
    np.save(files / "skewed.npy", values)
    result = run("select", files / "skewed.npy", "--budget", 3, "--json")
    assert json.loads(result.stdout)["doubtful"] == ["1"]
    assert "z-scores are doubtful for 1 of 3 columns: column 1 heavy-tailed" in (
        " ".join(result.stderr.split()).replace("skewed, ", "")
    )
    result = run("select", files / "skewed.npy", "--budget", 3, "--normalization", "rank", "--json")
    assert json.loads(result.stdout)["doubtful"] == []


def test_the_help_names_every_method():
    from bids_core.selection import METHODS
    from flows.cli import app as whole

    found = CliRunner().invoke(whole, ["select", "--help"], catch_exceptions=False)
    text = " ".join(found.stdout.replace("│", " ").split())
    assert all(f" {name}" in text for name in METHODS)
