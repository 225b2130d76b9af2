"""What people load the same minute: JSONL, Parquet, a `datasets` folder, and the card's header."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import yaml
from datasets import load_dataset, load_from_disk

from bids_core.artifacts import Handle
from bids_core.config.load import load_config
from bids_core.data import prepare
from bids_core.models.load import load_tokenizer
from tasks import selected_data


@pytest.fixture
def written(tmp_path, tiny_model_folder, monkeypatch):
    from tiny_project import write_project

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    write_project(tmp_path, tiny_model_folder)
    config = load_config(tmp_path / "bids.yaml", ["selection.budget=3"])
    data = prepare(config, load_tokenizer(config.model), base_dir=tmp_path)
    picks = {
        "bids": data.train.frame.iloc[[30, 2, 11]].assign(rank=[1, 2, 3]),
        "random": data.train.frame.iloc[[5, 6, 7]].assign(rank=[1, 2, 3]),
    }
    handles = {name: Handle(store="s", stage="selection", fingerprint=name * 3) for name in picks}
    monkeypatch.setattr(
        selected_data, "read_selection", lambda handle: picks[handle.fingerprint[: -2 *
                                                              (len(handle.fingerprint) // 3)]]
    )  # fmt: skip
    selected_data.write_selected(config, data, handles, tmp_path)
    return tmp_path / "selected", picks


def test_every_format_has_the_same_rows_in_pick_order(written):
    folder, picks = written
    lines = [json.loads(line) for line in (folder / "bids.jsonl").open(encoding="utf-8")]
    assert [line["row_id"] for line in lines] == picks["bids"]["row_id"].tolist()
    assert lines[0]["messages"][0]["role"] == "user"
    assert (
        pd.read_parquet(folder / "random.parquet")["row_id"].tolist()
        == picks["random"]["row_id"].tolist()
    )
    saved = load_from_disk(str(folder / "dataset"))
    assert saved["row_id"] == [line["row_id"] for line in lines]
    assert saved["messages"][0] == lines[0]["messages"]


def test_the_cards_header_is_what_load_dataset_reads(written):
    folder, picks = written
    assert load_dataset(str(folder), split="train")["rank"] == [1, 2, 3]  # the main method
    other = load_dataset(str(folder), "random", split="train")
    assert other["row_id"] == picks["random"]["row_id"].tolist()
    card = (folder / "README.md").read_text(encoding="utf-8")
    header = yaml.safe_load(card.split("---")[1])
    assert header["size_categories"] == ["n<1K"]
    assert "3 of 32 instruction examples, selected by bids" in card
    assert "| add | 20 | 2 |" in card.replace(" | 3 |", " |") or "| add | 20 |" in card
    assert "dai2025bids" in card
    from huggingface_hub import DatasetCard

    assert DatasetCard(card).data.to_dict()["configs"][0]["default"] is True
