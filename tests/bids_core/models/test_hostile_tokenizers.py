"""Files tokenizer.json that a Rust library panics on, at once or at the first text: one line."""

from __future__ import annotations

import json
import shutil

import pytest

from bids_core.config.model import ModelConfig
from bids_core.data.rejects import RejectedRow
from bids_core.data.tokenization import Tokenized, tokenize_examples
from bids_core.errors import ModelError
from bids_core.models.load import load_tokenizer
from bids_core.records import Example, Message

ENDLESS = {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated",
           "invert": False}  # fmt: skip
ONE = {"type": "TemplateProcessing", "special_tokens": {}, "pair": []}
BAD = {
    "a character map that is none": {
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    },
    "a character map that leads beyond itself": {
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": "BAAAAP////8="}
    },
    "a prefix longer than what it stands before": {
        "model": {"continuing_subword_prefix": "##########"}
    },
    "an expression without end": {"pre_tokenizer": ENDLESS},
    "pieces of length zero": {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
    "nothing to put in front": {"normalizer": {"type": "Prepend", "prepend": ""}},
    "a second text where there is one": {
        "post_processor": ONE | {"single": [{"Sequence": {"id": "B", "type_id": 0}}]}
    },
    "an unknown token that is not there": {
        "model": {"type": "WordLevel", "unk_token": "none", "vocab": {"a": 0}, "merges": None}
    },
    "ids beyond 2^31": {"model": {"vocab": 2**32 - 1}},
}


@pytest.fixture
def spoil(tiny_model_folder, tmp_path):
    """Copy the model with parts of its tokenizer.json replaced; returns its configuration."""

    def _spoil(parts):
        folder = tmp_path / "bad"
        shutil.copytree(tiny_model_folder, folder)
        found = json.loads((folder / "tokenizer.json").read_text())
        for name, part in parts.items():
            if name != "model":
                found[name] = part
                continue
            if isinstance(part.get("vocab"), int):
                part = {"vocab": dict.fromkeys(found["model"]["vocab"], part["vocab"])}
            found["model"] = {k: v for k, v in (found["model"] | part).items() if v is not None}
        (folder / "tokenizer.json").write_text(json.dumps(found))
        return ModelConfig(path=str(folder), device="cpu")

    return _spoil


def tokens(config):
    """Load the tokenizer and tokenize a row with it; then decode."""
    tokenizer = load_tokenizer(config)
    turns = (Message("user", "x" * 60), Message("assistant", "hello"))
    rows = [Example(row_id="1", source="s", location="s:1", messages=turns)]
    found = list(tokenize_examples(rows, tokenizer, 128))
    tokenizer.decode([0, 1, 2])
    return found


@pytest.mark.parametrize("case", BAD)
def test_what_the_library_panics_on_is_one_line_that_names_the_file(spoil, case):
    config = spoil(BAD[case])
    with pytest.raises(ModelError, match="tokenizer.json") as caught:
        tokens(config)
    assert config.path in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_row_that_becomes_no_token_is_a_reject(spoil):
    no_ids = {"A": {"id": "A", "ids": [], "tokens": []}}
    single = [{"SpecialToken": {"id": "A", "type_id": 0}}]
    config = spoil({"post_processor": ONE | {"single": single, "special_tokens": no_ids}})
    (found,) = tokens(config)
    assert isinstance(found, RejectedRow)
    assert "no token" in found.detail


def test_a_good_one_goes_on_working(spoil):
    (found,) = tokens(spoil({}))
    assert isinstance(found, Tokenized)


def test_ctrl_c_stays_what_it_is(tiny_model_folder, monkeypatch):
    tokenizer = load_tokenizer(ModelConfig(path=str(tiny_model_folder), device="cpu"))

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(tokenizer), "set_truncation_and_padding", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tokenizer("text")
