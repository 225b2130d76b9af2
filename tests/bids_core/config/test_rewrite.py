"""A configuration with some values changed: what it says, what stays of how it was written."""

from __future__ import annotations

import json

import pytest
import yaml

from bids_core.config.load import load_config
from bids_core.config.rewrite import put, rewritten
from bids_core.errors import ConfigError

TEXT = """\
# yaml-language-server: $schema=bids.schema.json
name: mine   # a label
model: {path: ./model}
pool:
  - path: pool/*.jsonl      # all of it
  - {path: "hf:some/data", split: train}
validation:
  - {task: a, capability: a, path: val.jsonl}
warmup:
  # as in the paper
  learning_rate: 2e-5
  epochs: 4
selection: {budget: 15%, compare: [less, random]}
finetune: {enabled: yes}
store: .bids
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "here" / "bids.yaml"
    path.parent.mkdir()
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_only_what_changes_changes(path):
    target = path.with_name("cheap.yaml")
    text = rewritten(
        path, target, overrides=["selection.budget=0.1"],
        changes={"warmup.stop_after": 1, "screen.by": "bm25", "gradients.layers": None},
    )  # fmt: skip
    target.write_text(text, encoding="utf-8")
    before, after = load_config(path), load_config(target)
    expected = before.model_dump(mode="json")
    for key, value in (("warmup.stop_after", 1), ("screen.by", "bm25"), ("selection.budget", 0.1)):
        put(expected, key, value)
    assert after.model_dump(mode="json") == expected
    expected_text = TEXT.replace("budget: 15%", "budget: 0.1").replace(
        "  epochs: 4\n", "  epochs: 4\n  stop_after: 1\n"
    )
    assert text == expected_text + "screen:\n  by: bm25\n"


def test_paths_lead_where_they_led_from_another_folder(path):
    target = path.parent.parent / "there" / "cheap.yaml"
    target.parent.mkdir()
    text = rewritten(path, target, changes={"warmup.stop_after": 2})
    target.write_text(text, encoding="utf-8")
    before, after = load_config(path), load_config(target)
    assert [one.path for one in after.pool] == [one.path for one in before.pool]
    assert after.validation == before.validation
    assert after.model == before.model
    assert (after.store, after.warmup.stop_after) == (".bids", 2)
    assert "# as in the paper" in text
    assert str(path.parent) not in text


def test_a_value_goes_out_again(path):
    path.write_text(TEXT + "screen: {by: bm25, keep: 0.2}\n", encoding="utf-8")
    text = rewritten(path, path, changes={"screen.by": None, "landmarks.rows": None})
    assert yaml.safe_load(text)["screen"] == {"keep": 0.2}
    assert "screen: {keep: 0.2}" in text
    assert "landmarks" not in text


def test_an_alias_is_written_out_where_only_one_of_both_changes(path):
    shared = TEXT.replace("warmup:", "warmup: &opt").replace(
        "finetune: {enabled: yes}", "finetune: *opt"
    )
    path.write_text(shared, encoding="utf-8")
    content = yaml.safe_load(rewritten(path, path, changes={"warmup.stop_after": 1}))
    assert content["warmup"] == {"learning_rate": "2e-5", "epochs": 4, "stop_after": 1}
    assert content["finetune"] == {"learning_rate": "2e-5", "epochs": 4}


def test_a_manifest_becomes_yaml_and_what_is_none_is_named(tmp_path, path):
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    config = yaml.safe_load(TEXT) | {"name": "other", "store": "../../.bids"}
    (folder / "manifest.json").write_text(json.dumps({"format": 2, "config": config}))
    target = folder / "cheap.yaml"
    target.write_text(rewritten(folder, target, changes={"warmup.stop_after": 1}))
    assert load_config(target).warmup.stop_after == 1
    with pytest.raises(ConfigError, match="no such file"):
        rewritten(tmp_path / "none.yaml", target, changes={})
    path.write_text("- a list\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="mapping of keys"):
        rewritten(path, target, changes={})
