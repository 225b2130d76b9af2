"""Damaged model folders, adapters and gradient shards: loaded, or one line."""

from __future__ import annotations

import copy
import json
import random
import shutil
import socket
import warnings
from contextlib import suppress

import numpy as np
import pytest
import torch
from mutations import damaged, one_line, seeds

from bids_core.config.model import LoraConfig, ModelConfig
from bids_core.data.chat import ChatRenderer
from bids_core.data.rejects import RejectedRow
from bids_core.data.tokenization import Tokenized, tokenize_examples
from bids_core.errors import ModelError
from bids_core.gradients import open_store, write_shard
from bids_core.gradients.features import Features
from bids_core.models.adapters import add_lora
from bids_core.models.load import load_adapter, load_base, load_tokenizer, read_config
from bids_core.records import Example, Message


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError(f"a connection to {args}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def spoiled(good, bad, seed):
    """Copy a folder with one file damaged; returns the file's name."""
    shutil.rmtree(bad, ignore_errors=True)
    shutil.copytree(good, bad)
    files = sorted(path for path in bad.rglob("*") if path.is_file())
    file = files[seed % len(files)]
    file.write_bytes(damaged(file.read_bytes(), seed))
    return file.name


def test_model_folders(tiny_model_folder, tmp_path):
    turns = [Message("user", "Q"), Message("assistant", "A")]
    for seed in seeds(60):
        folder = tmp_path / f"bad{seed}"  # a folder's digest is remembered
        name = spoiled(tiny_model_folder, folder, seed)
        config = ModelConfig(path=str(folder), dtype="float32", device="cpu")
        with one_line(f"{name}, seed {seed}"):
            read_config(config)
            tokenizer = load_tokenizer(config)
            with suppress(RejectedRow):
                ChatRenderer(tokenizer).render(turns)
            if name.startswith(("config", "model", "generation")):
                load_base(config)
        shutil.rmtree(folder)


PARTS = {
    "normalizer": [
        {"type": "Prepend", "prepend": "x"}, {"type": "Strip", "strip_left": True,
        "strip_right": True}, {"type": "Replace", "pattern": {"Regex": "a+"}, "content": "b"},
    ],
    "pre_tokenizer": [
        {"type": "Split", "pattern": {"Regex": "(a|b)+"}, "behavior": "Isolated", "invert": False},
        {"type": "Metaspace", "replacement": "_", "prepend_scheme": "first", "split": True},
        {"type": "FixedLength", "length": 3}, {"type": "Digits", "individual_digits": True},
    ],
    "decoder": [{"type": "Strip", "content": "x", "start": 1, "stop": 1}, {"type": "ByteFallback"}],
    "truncation": [{"direction": "Right", "max_length": 5, "strategy": "LongestFirst",
                    "stride": 2}],
    "padding": [{"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": 4,
                 "pad_id": 0, "pad_type_id": 0, "pad_token": "x"}],
}  # fmt: skip
ODD = [None, 0, -1, 1, 2**31, 2**40, 0.5, "", "x", "\u00e9", "(x+x+)+y", [], {}, True]


def odd_tokenizer(found, rng):
    """Return a tokenizer.json with some parts exchanged and one to three values of them odd."""
    for name, choices in PARTS.items():
        if rng.random() < 0.4:
            found[name] = copy.deepcopy(rng.choice(choices))
    for _ in range(rng.choice([1, 1, 2, 3])):
        at = found
        while isinstance(at, dict | list) and at:
            key = rng.choice(list(at) if isinstance(at, dict) else range(len(at)))
            if key == "vocab" or not isinstance(at[key], dict | list) or rng.random() < 0.2:
                at[key] = rng.choice(ODD)
                break
            at = at[key]
    return found


def test_tokenizers(tiny_model_folder, tmp_path):
    turns = (Message("user", "x" * 40 + " ab 12"), Message("assistant", "\u00e9ab hello"))
    rows = [Example(row_id="1", source="s", location="s:1", messages=turns)]
    good = json.loads((tiny_model_folder / "tokenizer.json").read_text())
    for seed in seeds(80):
        folder = tmp_path / f"bad{seed}"
        shutil.copytree(tiny_model_folder, folder)
        found = odd_tokenizer(copy.deepcopy(good), random.Random(seed))
        (folder / "tokenizer.json").write_text(json.dumps(found))
        with one_line(f"seed {seed}"):
            tokenizer = load_tokenizer(ModelConfig(path=str(folder), device="cpu"))
            (result,) = tokenize_examples(rows, tokenizer, 64)
            assert isinstance(result, Tokenized | RejectedRow)
            tokenizer.decode([0, 1, 2])
        shutil.rmtree(folder)


def test_adapters(tiny_model_folder, tmp_path):
    config = ModelConfig(path=str(tiny_model_folder), dtype="float32", device="cpu")
    add_lora(load_base(config), LoraConfig(r=2, alpha=4), seed=0).save_pretrained(tmp_path / "good")
    for seed in seeds(40):
        name = spoiled(tmp_path / "good", tmp_path / "bad", seed)
        if name == "README.md":
            continue
        with one_line(f"{name}, seed {seed}"):
            load_adapter(config, tmp_path / "bad", trainable=False)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_that_lacks_a_file_is_not_looked_for_elsewhere(
    tiny_model_folder, tmp_path, name
):
    config = ModelConfig(path=str(tiny_model_folder), dtype="float32", device="cpu")
    add_lora(load_base(config), LoraConfig(r=2, alpha=4), seed=0).save_pretrained(tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError, match=f"has no {name}"):
        load_adapter(config, tmp_path, trainable=False)


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_gradient_shards(tmp_path, storage):
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32))
    features = Features(
        values=rows, norms=rows.norm(dim=1), losses=torch.ones(6), seconds=0.0, n_tokens=6,
        row_ids=[f"r{i}" for i in range(6)], nonfinite_row_ids=[], eps_dominated_share=None,
    )  # fmt: skip
    write_shard(tmp_path / "good", features, storage=storage)
    for seed in seeds(60):
        name = spoiled(tmp_path / "good", tmp_path / "bad", seed)
        with one_line(f"{name}, seed {seed}"):
            store = open_store([tmp_path / "bad"])
            store.rows(0, store.n_rows)
