"""`bids init`: a configuration that runs, from options or from answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tiny_project import rows, write_rows

from bids_core.config.load import load_config
from flows.commands.init_yaml import quoted, warmup_share

CHAT = [
    {"messages": [{"role": "user", "content": f"Add {n} and 1."},
                  {"role": "assistant", "content": str(n + 1)}]}
    for n in range(20)
]  # fmt: skip
ALPACA = [{"instruction": "Say it.", "input": f"word {n}", "output": "word"} for n in range(9)]


@pytest.fixture
def files(tmp_path, monkeypatch, tiny_model_folder):
    """A folder of three JSONL files of different formats, skills and test rows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIDS_CACHE", str(tmp_path / "cache"))
    write_rows(tmp_path / "data" / "chat.jsonl", CHAT)
    write_rows(tmp_path / "data" / "pairs.jsonl", rows("add", 0, 10))
    write_rows(tmp_path / "data" / "alpaca.jsonl", [*ALPACA, {"instruction": "x", "output": ""}])
    write_rows(tmp_path / "skills" / "addition.jsonl", rows("add", 50, 54))
    write_rows(tmp_path / "skills" / "the largest.jsonl", rows("max", 50, 54))
    write_rows(tmp_path / "test" / "addition.jsonl", rows("add", 60, 64))
    return tmp_path


def options(model, *more):
    return ("--pool", "data/*.jsonl", "--skills", "skills", "--model", model, *more)


def test_options_become_a_configuration_that_passes_the_check(bids, files, tiny_model_folder):
    status, out, err = bids("init", "mine", *options(tiny_model_folder, "--test", "test"))
    assert status == 0, err
    assert "39 rows (alpaca, messages, prompt_completion), 1 more are unusable" in err
    assert "bids show mine/bids.yaml\n" in out
    config = load_config(files / "mine" / "bids.yaml")
    assert [task.task for task in config.validation] == ["addition", "the-largest"]
    assert config.name == "mine"
    assert config.finetune.enabled
    assert config.warmup.fraction == 1.0
    text = (files / "mine" / "bids.yaml").read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=bids.schema.json\n")
    assert "in a small pool" in text
    schema = json.loads((files / "mine" / "bids.schema.json").read_text(encoding="utf-8"))
    assert "selection" in schema["properties"]
    status, out, err = bids("check", "mine", "--no-cost", "--json")
    assert status == 0, err
    assert json.loads(out)["budget"] == 5
    status, out, err = bids("show", "mine", "alpaca.jsonl:1")
    assert status == 0, err
    assert "word 0" in out


@pytest.mark.usefixtures("prefect_server")
def test_what_it_writes_runs(bids, files, tiny_model_folder):
    assert bids("init", *options(tiny_model_folder), "--budget", "8")[0] == 0
    status, out, err = bids("run", ".", "--json")
    assert status == 0, err
    result = json.loads(out)
    picks = Path(result["folder"], "selected", "bids.jsonl").read_text(encoding="utf-8")
    assert len(picks.splitlines()) == 8
    assert "scores" not in result  # there are no test rows, so nothing is trained on the picks


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--pool", "data"), "--validation PATH is also required"),
        (("--pool", "nothing.jsonl", "--skills", "skills"), "--pool nothing.jsonl does not exist"),
        (("--pool", "data", "--skills", "nowhere"), "--validation nowhere does not exist; give a"),
        (("--pool", "data", "--skills", "sums=no.jsonl"), "--validation sums=no.jsonl does not"),
        (("--pool", "data", "--skills", "skills", "--test", "none"), "--test none does not exist"),
        (("--pool", "data", "--skills", "skills", "--test", "bare"), "--test bare: the folder"),
        (
            ("--pool", "data", "--skills", "skills", "--test", "no/*"),
            "--test no/*: no file matches",
        ),
        (
            ("--pool", "empty.jsonl", "--skills", "skills"),
            "--pool empty.jsonl: it has no rows; give",
        ),
        (("--pool", "data", "--skills", "skills", "--budget", "300"), "has 39 usable rows"),
        (("--pool", "data", "--skills", "skills", "--budget", "few"), "--budget"),
        (("--pool", "data", "--skills", "skills", "--model", "foo"), "--model foo"),
        (("--pool", "data", "--skills", "skills", "--model", "data"), "no config.json"),
        (("empty.jsonl", "--pool", "data", "--skills", "skills"), "empty.jsonl is a file; name"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(bids, files, arguments, words):
    (files / "empty.jsonl").write_text("")
    (files / "bare").mkdir()
    status, out, err = bids("init", *arguments)
    assert status == 2
    assert words in err.splitlines()[-1]
    assert "Traceback" not in out + err
    assert not (files / "bids.yaml").exists()


def test_on_a_terminal_it_asks_until_an_answer_fits(bids, files, tiny_model_folder, monkeypatch):
    answers = iter(["nowhere", "data/*.jsonl", "skills", "", str(tiny_model_folder), "1000", "12"])
    monkeypatch.setattr("flows.commands.out_path.on_terminal", lambda: True)
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(answers))
    status, _, err = bids("init")
    assert status == 0, err
    assert "nowhere does not exist" in err
    assert "--budget 1000: the pool has 39 usable rows" in err
    config = load_config(files / "bids.yaml")
    assert config.selection.budget == 12
    assert config.test == ()
    assert list(answers) == []


def test_in_a_pipe_without_options_it_writes_the_starter(bids, files, monkeypatch):
    monkeypatch.setattr(sys, "stdin", open("/dev/null"))  # noqa: SIM115 - pytest's raises
    status, out, _ = bids("init", "new")
    assert status == 0
    assert "--pool FILE" in out
    assert load_config(files / "new" / "bids.yaml").selection.method == "bids"


@pytest.mark.parametrize(
    ("n_rows", "share"),
    [(40, "1.0"), (2_000, "1.0"), (2_001, "0.25"), (20_000, "0.25"), (300_000, "0.05"),
     (None, "0.05")],
)  # fmt: skip
def test_the_warmup_takes_a_share_that_fits_the_pool_and_says_why(n_rows, share):
    found, why = warmup_share(n_rows)
    assert found == share
    assert why.startswith("# Warmup on")


@pytest.mark.parametrize("text", ["a: b", "1", "true", "it's", "{x}", "a #b", "data/a.jsonl", "ü"])
def test_texts_come_back_from_the_yaml_as_they_were(text):
    import yaml

    assert yaml.safe_load(f"{{path: {quoted(text)}, x: 1}}") == {"path": text, "x": 1}
