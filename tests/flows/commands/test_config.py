"""`bids config`: every field's description, default, choices and what it changes."""

from __future__ import annotations

import json

import pytest

from bids_core.config import RunConfig
from bids_core.config.reference import all_fields
from bids_core.config.slices import walk


def test_every_field_is_listed_and_described(bids):
    status, out, _ = bids("config")
    assert status == 0
    fields = {field.key.replace("[]", ""): field for field in all_fields()}
    for path, _, name in walk(RunConfig):
        assert fields[path].description, path
        assert fields[path].changes, path
        assert name in out


def test_a_field_says_what_it_takes_its_default_its_choices_and_what_it_changes(bids):
    status, out, _ = bids("config", "selection.normalization")
    assert status == 0
    assert "default:  zscore" in out
    assert "robust" in out
    assert "by median and median absolute deviation" in out
    assert "selection and all that follows" in out
    assert "15%" in bids("config", "budget")[1]  # the last name is enough where one field has it
    assert "no result (only the speed)" in bids("config", "model.device")[1]
    assert "row_bytes" in bids("config", "pool.0.limits")[1]


def test_json_is_json_alone(bids):
    found = json.loads(bids("config", "warmup", "--json")[1])
    assert found["key"] == "warmup"
    assert {field["key"] for field in found["fields"]} >= {"warmup.fraction", "warmup.epochs"}
    assert len(json.loads(bids("config", "--json")[1])) > 150
    assert "properties" in json.loads(bids("config", "--schema")[1])


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("warmup.epoch", "did you mean warmup.epochs?"),
        ("learning_rate", "warmup.learning_rate, finetune.learning_rate"),
        ("dinner", "no such field"),
    ],
)
def test_a_wrong_key_gets_the_nearest(bids, key, words):
    status, _, err = bids("config", key)
    assert status == 2
    assert words in err


def test_on_a_narrow_terminal_each_field_has_one_line(monkeypatch):
    from rich.console import Console

    from flows.commands import config as module

    console = Console(width=60, force_terminal=True, color_system=None, highlight=False)
    with console.capture() as captured:
        module._show_tree(console, all_fields())
    lines = captured.get().splitlines()
    assert len(lines) == len(all_fields())
    assert max(map(len, lines)) <= 60
