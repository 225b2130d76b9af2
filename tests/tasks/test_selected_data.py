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


ODD_ROWS = [
    {"prompt": "Q", "completion": "one\u2028two\u0085three", "licence": "mit", "n": 1, "rank": 9},
    {"prompt": "Q", "chosen": "A", "rejected": "B", "n": "x", "meta": {"k": [1]}, "score": 0.5},
    {"messages": [{"role": "user", "content": "Q", "name": "bob"},
                  {"role": "assistant", "content": "A", "weight": 0.5, "reasoning": "Hm."}],
     "tools": [{"name": "f"}], "score": 2, "flag": True},
]  # fmt: skip


@pytest.fixture
def odd(tmp_path, tokenizer, monkeypatch):
    """Write the picks of a pool of odd rows; returns the folder, and the ranking."""
    from template_families import family_tokenizer

    from bids_core.config import RunConfig

    lines = [json.dumps(row) for row in ODD_ROWS]
    (tmp_path / "pool.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "val.jsonl").write_text('{"prompt": "Q?", "completion": "A"}\n', encoding="utf-8")
    config = RunConfig.model_validate({
        "model": {"path": "unused"}, "pool": [{"path": "pool.jsonl"}],
        "validation": [{"path": "val.jsonl", "task": "t", "capability": "c"}],
    })  # fmt: skip
    data = prepare(config, family_tokenizer(tokenizer, "qwen"), base_dir=tmp_path)
    assert len(data.train) == 3
    chosen = data.train.frame[["row_id", "source"]].iloc[[2, 0, 1]].assign(rank=[1, 2, 3])
    monkeypatch.setattr(selected_data, "read_selection", lambda _: chosen)
    handle = Handle(store="s", stage="selection", fingerprint="f" * 32)
    selected_data.write_selected(config, data, {"bids": handle}, tmp_path)
    return tmp_path / "selected", selected_data.with_extra(chosen, data)


def test_further_columns_are_in_every_form(odd):
    folder, ranking = odd
    text = (folder / "bids.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]  # also at U+2028 and U+0085
    assert len(rows) == 3
    assert rows[1]["messages"][1]["content"] == "one\u2028two\u0085three"
    assert rows[1]["data_rank"] == 9
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert rows[2] | {"messages": 0} == {
        "messages": 0, "rejected": "B", "n": "x", "meta": {"k": [1]}, "score": 0.5,
        "row_id": "pool:2", "source": "pool", "rank": 3,
    }  # fmt: skip
    assert rows[0]["messages"][1] == {
        "role": "assistant", "content": "A", "reasoning_content": "Hm.", "weight": 0.5
    }  # fmt: skip
    assert rows[0]["tools"] == [{"type": "function", "function": {"name": "f"}}]
    table = pd.read_parquet(folder / "bids.parquet")
    saved = load_from_disk(str(folder / "dataset"))
    for name, expected in {
        "licence": [None, "mit", None], "rejected": [None, None, "B"], "score": [2, None, 0.5],
        "n": [None, "1", "x"], "meta": [None, None, '{"k": [1]}'], "flag": [True, None, None],
    }.items():  # fmt: skip
        for column in (table[name].tolist(), saved[name], ranking[name].tolist()):
            assert [None if pd.isna(value) else value for value in column] == expected, name
    assert ranking["rank"].tolist() == [1, 2, 3]
    assert json.loads(table["tools"][0])[0]["function"]["name"] == "f"
    assert saved["messages"][0][0]["name"] == "bob"
