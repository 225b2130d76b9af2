"""`bids show`: a row as the model sees it; and what `bids check` says of rows."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from flows.cli import app

ROWS = [
    {"id": "-x", "prompt": "Two and two?", "completion": "Four.", "language": "en"},
    {"messages": [
        {"role": "user", "content": "Say <|im_end|>"},
        {"role": "assistant", "content": "No.", "weight": 0.5},
        {"role": "user", "content": "Again"},
        {"role": "assistant", "content": "Never.", "train": False},
        {"role": "user", "content": "Please"},
        {"role": "assistant", "content": "Yes."},
    ]},
    {"prompt": "Q", "chosen": "A", "rejected": "B"},
    {"prompt": "Q", "completion": "A", "label": False},
    {"messages": [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": {}}]},
    ]},
    {"prompt": "Q", "completion": "A"},
]  # fmt: skip


@pytest.fixture
def project(tmp_path, tiny_model_folder, monkeypatch):
    from tiny_project import write_project

    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, tiny_model_folder)
    lines = [json.dumps(row) for row in ROWS]
    (tmp_path / "pool" / "add.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def show(*arguments):
    result = CliRunner().invoke(app, ["show", "bids.yaml", *arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def test_turns_are_marked_with_what_is_learned(project):
    (line,) = show("add.jsonl:2", "--json", "--set", "data.max_length=99").splitlines()
    row = json.loads(line)
    assert row["format"] == "messages"
    assert row["notes"] == ["special-text", "weighted-turns"]
    answers = [(p["turn"], p["text"], p["weight"]) for p in row["pieces"] if p["turn"] is not None]
    assert answers == [
        (1, "No.<|im_end|>", 0.5), (3, "Never.<|im_end|>", 0.0), (5, "Yes.<|im_end|>", 1.0)
    ]  # fmt: skip
    assert sum(piece["n_tokens"] for piece in row["pieces"]) == len(row["tokens"])
    spelled = "".join(piece["text"] for piece in row["pieces"])
    assert spelled.count("<|im_start|>user\nSay <|im_end|><|im_end|>") == 1
    out = show("add.jsonl:2", "--set", "data.max_length=99")
    assert "learned x0.5  turn 2" in out
    assert "masked        turn 4" in out
    assert "special-text: a text spells a special token" in out


def test_the_learned_tokens_are_the_labels(project):
    from bids_core.config.load import load_config
    from bids_core.data import prepare
    from bids_core.models.load import load_tokenizer

    config = load_config(project / "bids.yaml", ["data.max_length=99"])
    data = prepare(config, load_tokenizer(config.model), base_dir=project)
    record = data.train.frame.iloc[1]
    row = json.loads(show(record["row_id"], "--json", "--set", "data.max_length=99"))
    assert [token["id"] for token in row["tokens"]] == record["input_ids"].tolist()
    learned = [t["id"] if t["weight"] else -100 for t in row["tokens"]]
    assert learned == record["labels"].tolist()
    assert [t["weight"] for t in row["tokens"]] == record["weights"].tolist()


def test_rows_by_id_and_rejected_ones(project):
    assert "further columns, exported with the row: language" in show("-x")
    assert "rejected, negative-feedback: label is false" in show("pool/add.jsonl:4")
    assert "rejected, template-without-tools" in show("add.jsonl:5")
    assert "1 learned" not in show("--tokens", "-x")
    result = CliRunner().invoke(app, ["show", "bids.yaml", "nobody"])
    assert "there is no row 'nobody'" in str(result.exception)


def test_one_row_of_each_format_without_a_row(project):
    rows = [json.loads(line) for line in show("--json").splitlines()]
    assert [row["format"] for row in rows] == ["prompt_completion", "messages", "preference"]
    assert all(row["reject"] is None for row in rows)


def test_settings_can_be_tried(project):
    wide = ("--set", "data.max_length=99")
    row = json.loads(show("add.jsonl:2", "--json", *wide, "--set", "data.learn=last"))
    assert [p["weight"] for p in row["pieces"] if p["turn"] is not None] == [0.0, 0.0, 1.0]
    row = json.loads(show("-x", "--json", "--set", "data.max_length=5"))
    assert row["cut"] == len(row["tokens"]) - 5
    assert row["reject"][0] == "completion-truncated"
    assert "cut off" in show("-x", "--set", "data.max_length=5")


def test_check_counts_everything_and_shows_a_row_of_each_format(project):
    result = CliRunner().invoke(app, ["check", "bids.yaml", "--no-cost", "--set",
                                      "selection.budget=3"])  # fmt: skip
    assert result.exit_code == 0, (result.output, result.exception)
    out = result.stdout
    for word in ("chosen-side", "weighted-turns", "special-text", "negative-feedback",
                 "template-without-tools", "preference", "prompt_completion"):  # fmt: skip
        assert word in out, word
    assert "learned       turn 2   Four.<|im_end|>" in out
    result = CliRunner().invoke(app, ["check", "bids.yaml", "--no-cost", "--json", "--set",
                                      "selection.budget=3"])  # fmt: skip
    data = json.loads(result.stdout)["data"]
    assert data["notes"]["train"] == {"chosen-side": 1, "weighted-turns": 1, "special-text": 1}
    assert data["formats"]["train"]["preference"] == 1


@pytest.mark.parametrize("name", ["pool:add.jsonl:7", "add.jsonl:7", "pool/add.jsonl:7"])
def test_a_malformed_row_is_found_as_it_would_have_been_called(project, name):
    with (project / "pool" / "add.jsonl").open("a") as file:
        file.write("{oops\n")
    said = show(name)
    assert "pool/add.jsonl:7 (train, pool, pool/add.jsonl:7)" in said
    assert "rejected, malformed-json" in said


def test_check_counts_rows_that_repeat_another(project):
    with (project / "pool" / "add.jsonl").open("a") as file:
        file.write('{"prompt": "Once", "completion": "more"}\n' * 3)
    result = CliRunner().invoke(app, ["check", "bids.yaml", "--no-cost"])
    said = "Repeated: 3 pool rows repeat another one word for word, the first being "
    assert f"{said}pool/add.jsonl:6 (pool/add.jsonl:3 again)" in result.stdout
