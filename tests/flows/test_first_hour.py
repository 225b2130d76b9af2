"""Stumbles of a newcomer on the terminal: each gets one line that helps, in time."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import typer

from bids_core.errors import DataError, UserError
from tasks.runtime import run_logs

HEAVY = {"torch", "transformers", "prefect", "datasets", "lm_eval", "peft"}


def imported_by(*arguments, cwd):
    """Run a command in a process of its own; return which heavy libraries it imported."""
    code = (
        "import sys; sys.argv = ['bids', *sys.argv[1:]]; from flows.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print('IMPORTED', *sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split("IMPORTED")[1].split()), done


@pytest.fixture
def matrix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("m.npy", np.random.default_rng(0).standard_normal((60, 6)))
    (tmp_path / "tasks.txt").write_text("a\na\nb\nb\nc\nc\n")
    return tmp_path


def test_explain_and_config_and_init_wait_for_no_heavy_library(bids, matrix):
    assert bids("select", "m.npy", "--budget", "9", "--out", "picks.parquet")[0] == 0
    assert imported_by("explain", "picks.parquet", "rank:1", cwd=matrix)[0] == set()
    assert imported_by("config", "selection.budget", cwd=matrix)[0] == set()
    assert imported_by("init", "new", cwd=matrix)[0] == set()


def test_check_without_cost_leaves_out_what_it_does_not_need_and_says_each_step(project):
    imported, done = imported_by("check", "bids.yaml", "--no-cost", cwd=project)
    assert imported == {"torch", "transformers"}
    steps = re.findall(r"^  (\w.*) \.\.\.$", done.stderr, re.MULTILINE)
    assert steps == ["loading the tokenizer", "reading data", "looking at the model's layers"]


def test_the_layers_are_looked_at_with_peft_where_it_is_not_plain(bids, project):
    status, _, err = bids("check", ".", "--no-cost", "--set", "lora.target_modules=[q_proj, nope]")
    assert status == 0, err
    status, _, err = bids("check", ".", "--no-cost", "--set", "lora.target_modules=[nope]")
    assert status == 2
    assert "the model has no nope" in err


def test_a_folder_finds_its_configuration(bids, project):
    assert bids("check", project, "--no-cost")[0] == 0
    (project / "bids.yaml").rename(project / "mine.yml")
    assert bids("check", project, "--no-cost")[0] == 0
    (project / "other.yaml").write_text("{}")
    status, _, err = bids("check", project, "--no-cost")
    assert status == 2
    assert "several YAML files (mine.yml, other.yaml); name one of them" in err
    status, _, err = bids("check", project / "pool", "--no-cost")
    assert (status, "without a YAML file" in err) == (2, True)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("bugdet=1", "did you mean 'selection.budget'?"),
        ("selection.bugdet=1", "--set selection.bugdet=1: selection.bugdet: unknown key; did you"),
        ("selecton.budget=1", "did you mean 'selection'?"),
        ("learning_rate=1", "'warmup.learning_rate' or 'finetune.learning_rate'"),
        ("pool.0.pth=x", "did you mean 'path'?"),
        ("selection=0.1", "selection: this is a section; known keys: budget, compare"),
        ("warmup.epochs=many", "--set warmup.epochs=many: warmup.epochs:"),
    ],
)
def test_a_wrong_name_in_set_gets_the_nearest(bids, project, override, words):
    status, _, err = bids("check", ".", "--no-cost", "--set", override)
    assert status == 2
    assert words in err
    assert err.count("error:") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("select", "m.npy", "--budget", "5", "--method", "less"), "needs --tasks FILE"),
        (("select", "m.npy", "--budget", "5", "--method", "bm25"), "needs --texts FILE"),
        (("analyze", "m.npy", "--budget", "5", "--leave-out", "task"), "needs --tasks FILE"),
        (("select", "m.npy", "--budget", "5", "--out", "no/picks.csv"), "mkdir -p no"),
        (("select", "m.npy", "--budget", "5", "--out", "m.npy/p.csv"), "is a file, not a folder"),
        (("analyze", "m.npy", "--out", "no/analysis"), "mkdir -p no"),
        (("audit", "m.npy", "--out", "no/list.csv"), "mkdir -p no"),
        (("explain", "picks.csv", "3"), "add --matrix FILE"),
        (("explain", "picks.npy", "3", "--matrix", "m.npy"), "has no utilities"),
    ],
)
def test_what_is_lacking_is_named_as_it_is_typed(bids, matrix, arguments, words):
    for name in ("picks.csv", "picks.npy"):
        assert bids("select", "m.npy", "--budget", "5", "--out", name)[0] == 0
    status, out, err = bids(*arguments)
    assert status == 2
    assert words in err
    assert out == ""


def test_a_missing_folder_is_made_where_somebody_says_so(bids, matrix, monkeypatch):
    monkeypatch.setattr("flows.commands.out_path.on_terminal", lambda: True)
    asked = []
    monkeypatch.setattr(typer, "confirm", lambda text, **_: asked.append(text) or len(asked) > 1)
    command = ("select", "m.npy", "--budget", "5", "--out", "new/deep/picks.csv")
    assert bids(*command)[0] == 2
    assert not (matrix / "new").exists()
    assert bids(*command)[0] == 0
    assert (matrix / "new" / "deep" / "picks.csv").is_file()
    assert asked == ["The folder new/deep does not exist. Make it?"] * 2


def test_picks_that_were_moved_with_their_matrix_are_explained(bids, matrix):
    from bids_core.diagnostics.explain import explain_row
    from bids_core.selection import select

    status, _, err = bids("select", "m.npy", "--budget", "9", "--method", "less",
                          "--tasks", "tasks.txt", "--out", "picks.parquet")  # fmt: skip
    assert status == 0, err
    (matrix / "there").mkdir()
    for name in ("m.npy", "tasks.txt", "picks.parquet"):
        (matrix / name).rename(matrix / "there" / name)
    found = json.loads(bids("explain", "there/picks.parquet", "7", "--json")[1])
    values, tasks = np.load("there/m.npy"), ["a", "a", "b", "b", "c", "c"]
    selection = select(values, 9, method="less", tasks=tasks)
    expected = json.loads(json.dumps(explain_row(values, selection, 7, tasks=tasks).to_dict()))
    assert {name: found[name] for name in expected} == expected
    (matrix / "there" / "m.npy").unlink()
    status, _, err = bids("explain", "there/picks.parquet", "7")
    assert status == 2
    assert "add --matrix FILE" in err


def test_help_is_whole_sentences_without_placeholders(bids, monkeypatch):
    from flows.commands.command import commands

    monkeypatch.setenv("COLUMNS", "80")
    names = [command.name or command.run.__name__ for command in commands()]
    for words in [*([name] for name in names), ["store", "ls"], ["store", "gc"]]:
        status, out, _ = bids(*words, "--help")
        assert status == 0
        assert not re.search(r"\{[a-z]+\}", out), words
        lines = [line.strip() for line in out.splitlines()]
        for line, following in pairwise(lines):
            if line.startswith(("│", "╭", "╰", "Usage")) or not line or not following:
                continue
            # a line that is not the last of its paragraph is full: the next word did not fit
            assert len(line) + 1 + len(following.split()[0]) > 76, (words, line)


@pytest.mark.parametrize("verbose", [False, True])
def test_a_mistake_is_logged_by_prefect_only_where_somebody_asks_for_it(monkeypatch, verbose):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("BIDS_VERBOSE", raising=False)
    if verbose:
        monkeypatch.setenv("BIDS_VERBOSE", "1")
    monkeypatch.setattr(run_logs, "on_server", lambda: False)
    error = DataError("pool: nothing there")
    raised = logging.LogRecord("prefect.flow_runs", 40, "", 1, "Encountered", (),
                               (DataError, error, None))  # fmt: skip
    ended = logging.LogRecord(
        "prefect.task_runs", 40, "", 1,
        "Finished in state Failed('Task run encountered an exception DataError: pool: nothing')",
        (), None,
    )  # fmt: skip
    other = logging.LogRecord("prefect.task_runs", 40, "", 1, "the disk went away", (), None)
    assert [run_logs._message_alone(one) for one in (raised, ended, other)] == [
        verbose, verbose, True,
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["run", "compare", "validate"])
def test_a_mistake_is_told_before_prefect_is_imported(project, command):
    code = (
        "import sys; sys.argv = ['bids', *sys.argv[1:]]; from flows.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n"
        "    sys.exit(9 if {'prefect', 'torch'} & set(sys.modules) else end.code)"
    )
    words = [command, "bids.yaml", "--set", "test.0.path=nope.jsonl"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=project, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip().count("\n") == 0
    assert "nope.jsonl does not exist" in done.stderr


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.path=./nope", "is not a folder"),
        ("model.device=cuda:99", "not available on this machine"),
        ("model.chat_template=no.jinja", "no.jinja is not a file"),
        ("finetune.report_to=[wandb]", "pip install wandb"),
        ("selection.method=no.py:mine", "no.py"),
        ("store=bids.yaml", "bids.yaml is not writable (Not a directory)"),
        ("output_dir=bids.yaml", "output_dir: "),
    ],
)
def test_settings_are_looked_at_beforehand(project, override, words):
    from bids_core.config.load import load_config
    from flows.beforehand import check_settings

    with pytest.raises(UserError, match=re.escape(words)):
        check_settings(load_config(project / "bids.yaml", [override]))
