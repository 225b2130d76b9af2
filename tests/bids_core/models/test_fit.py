"""What of data and model does not fit, known without the model's weights."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml
from model_families import build
from tiny_project import write_project, write_rows

from bids_core.config import LoraConfig, ModelConfig
from bids_core.errors import BidsError, ModelError
from bids_core.models.adapters import add_lora
from bids_core.models.load import load_skeleton, load_tokenizer


@pytest.fixture
def project(tmp_path, tokenizer):
    """Write a project with a model of a family; changes are made to its configuration."""

    def write(family="llama", *, vocabulary=None, **changes):
        folder = tmp_path / "model"
        build(family, vocabulary=vocabulary or len(tokenizer)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        config = write_project(tmp_path, folder) | changes
        (tmp_path / "bids.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        return tmp_path

    return write


def check(folder, capsys, *options):
    """Run `bids check` in this process; returns what it printed."""
    from typer.testing import CliRunner

    from flows.cli import app

    result = CliRunner().invoke(app, ["check", str(folder / "bids.yaml"), "--json", *options])
    if isinstance(result.exception, BidsError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout[result.stdout.index("{") :])


def test_nothing_is_said_of_a_model_that_fits(project, capsys):
    assert check(project(), capsys, "--no-cost")["remarks"] == []


def test_token_ids_beyond_the_embedding_are_one_line(project, capsys):
    with pytest.raises(ModelError, match=r"add\.jsonl:\d+: token .* has id \d+, but the model's"):
        check(project(vocabulary=300), capsys, "--no-cost")


def test_a_larger_embedding_passes(project, capsys, tokenizer):
    assert check(project(vocabulary=len(tokenizer) + 64), capsys, "--no-cost")["remarks"] == []


def test_ids_that_only_a_test_row_has_are_found(project, capsys, tokenizer):
    added = len(tokenizer)
    folder = project()
    mine = load_tokenizer(ModelConfig(path=str(folder / "model")))
    mine.add_tokens(["<rare>"])
    mine.save_pretrained(folder / "model")
    assert check(folder, capsys, "--no-cost")["remarks"] == []
    write_rows(folder / "test" / "add.jsonl", [{"prompt": "<rare>?", "completion": "1"}])
    with pytest.raises(ModelError, match=rf"add\.jsonl:1: token '<rare>' has id {added}"):
        check(folder, capsys, "--no-cost")


def test_a_padding_token_that_the_model_does_not_know(project, capsys):
    folder = project()
    mine = load_tokenizer(ModelConfig(path=str(folder / "model")))
    mine.add_special_tokens({"pad_token": "<pad>"})
    mine.save_pretrained(folder / "model")
    with pytest.raises(ModelError, match="pads with '<pad>', id"):
        check(folder, capsys, "--no-cost")


def test_neither_padding_nor_end_of_text(tmp_path, tokenizer, tiny_model_folder):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder, folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    kept = {k: v for k, v in settings.items() if k not in ("pad_token", "eos_token")}
    path.write_text(json.dumps(kept))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    with pytest.raises(ModelError, match="neither a padding token nor an end-of-text token"):
        load_tokenizer(ModelConfig(path=str(folder)))


def test_test_rows_longer_than_the_positions(project, capsys):
    folder = project()
    config = yaml.safe_load((folder / "bids.yaml").read_text())
    config["test"][0]["max_new_tokens"] = 110
    (folder / "bids.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(BidsError, match=r"prompt and answer may take \d+ tokens, but the model"):
        check(folder, capsys, "--no-cost")


@pytest.mark.parametrize(("family", "refused"), [("gpt2", True), ("llama", False)])
def test_pool_rows_longer_than_the_positions(project, capsys, family, refused):
    folder = project(
        family, data={"max_length": 512}, lora={"r": 2, "target_modules": "all-linear"}
    )
    rows = [{"prompt": "plus " * 100, "completion": "1"}]
    write_rows(folder / "pool" / "long.jsonl", rows)
    words = "1 pool rows are longer than the model's 128 positions"
    if refused:
        with pytest.raises(ModelError, match=words):
            check(folder, capsys, "--no-cost")
    else:
        assert words in check(folder, capsys, "--no-cost")["remarks"][0]


def test_packing_is_refused_before_anything_is_paid_for(project, capsys):
    folder = project("falcon_h1")
    with pytest.raises(ModelError, match="carry a state"):
        check(folder, capsys, "--no-cost", "--set", "finetune.packing=true")


def test_what_the_probes_find_is_said(project, capsys):
    remarks = check(project("jamba"), capsys)["remarks"]
    assert len(remarks) == 2
    assert "reach 1 of the model's 2 layers (numbers 1)" in remarks[0]
    assert "in_proj" in remarks[0]
    assert "reading several tokens after this model's cache" in remarks[1]


def test_targets_that_no_layer_has_name_those_that_are_there(project, tmp_path):
    folder = project("mamba2")
    with pytest.raises(ModelError, match=r"has no q_proj, .*; its linear layers are in_proj, out_"):
        add_lora(load_skeleton(ModelConfig(path=str(folder / "model"))), LoraConfig(), seed=0)
