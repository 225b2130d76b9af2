"""The cards as the hub's own library reads them."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from huggingface_hub import DatasetCard, ModelCard

from bids_core.config import RunConfig
from bids_core.publishing.card import table
from bids_core.publishing.dataset_card import dataset_card
from bids_core.publishing.model_card import model_card

SCORES = pd.DataFrame(
    {"task": ["sums", "essay"], "metric": ["exact_match", "answer_loss"], "n": 40,
     "score": [0.51239, math.nan], "stderr": [0.08, math.nan], "answer_loss": [1.5, 2.5]}
)  # fmt: skip


@pytest.fixture
def config():
    return RunConfig.model_validate(
        {
            "name": "trial",
            "model": {"path": "org/model", "revision": "abc"},
            "pool": [{"path": "pool.jsonl"}],
            "validation": [{"path": "v.jsonl", "task": "sums", "capability": "math"}],
        }
    )


SUMMARY = {"n_rows": 60, "tokens": 12345, "losses": [2.0, 1.0]}


def test_a_model_card_is_read_back(config):
    text = model_card(
        config, method="BIDS", summary=SUMMARY, sources={"a|b": 40, "c\nd": 20}, scores=SCORES
    )
    read = ModelCard(text)
    assert read.data.base_model == "org/model"
    assert read.data.library_name == "peft"
    assert read.data.model_name == "trial"
    (result,) = read.data.eval_results  # the task without a score has none
    assert (result.dataset_name, result.metric_type, result.metric_value) == (
        "sums", "exact_match", 0.5124,
    )  # fmt: skip
    assert "| a\\|b | 40 |" in read.text
    assert "| c d | 20 |" in read.text
    assert "| essay | answer_loss | 40 | - | - | 2.500 |" in read.text


def test_a_model_card_before_the_evaluation(config):
    text = model_card(config, method="BIDS", summary=SUMMARY, sources={"a": 60})
    header = ModelCard(text).data.to_dict()
    assert "model-index" not in header
    assert "model_name" not in header
    assert "Not evaluated when this card was written." in text


def test_a_dataset_card_is_read_back(config):
    text = dataset_card(
        config, sources={"bids": {"a": 40}, "less": {"a": 30, "b": 10}}, pool={"a": 900, "b": 100},
        tokens={"bids": 4000, "less": 5000}, versions={"bids-select": "0.1"},
    )  # fmt: skip
    read = DatasetCard(text)
    assert read.data.size_categories == ["n<1K"]
    assert [c["config_name"] for c in read.data.configs] == ["bids", "less"]
    assert read.data.configs[0]["default"] is True
    assert "| b | 100 | 0 | 10 |" in read.text
    assert "| total | 1,000 | 40 | 40 |" in read.text


def test_a_table_cannot_be_broken_by_its_values():
    assert table(["a", "b"], [["x|y", "1\n2"]]) == "| a | b |\n| --- | --- |\n| x\\|y | 1 2 |"
