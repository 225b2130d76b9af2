"""Tokenizers of a few hundred bytes that make gigabytes: one line, in little memory; and a bound
on what any tokenizer makes of a text, compared with what the library does.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import unicodedata

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, normalizers, pre_tokenizers

from bids_core.config.model import ModelConfig
from bids_core.data import literal
from bids_core.data.literal import encode
from bids_core.models import tokenizer_growth
from bids_core.models.load import load_tokenizer
from bids_core.models.panics import is_panic
from bids_core.models.tokenizer_growth import DECODERS, NORMALIZERS, PRE_TOKENIZERS, growth

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
TEXT = {"Sequence": {"id": "A", "type_id": 0}}
NAMED = {"SpecialToken": {"id": "X", "type_id": 0}}
BLANK = {"single_word": False, "lstrip": False, "rstrip": False, "special": False}


def replace(pattern, content, kind="String"):
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def chain(key, *parts):
    kinds = {"normalizers": "Sequence", "pretokenizers": "Sequence", "decoders": "Sequence"}
    return {"type": kinds.get(key, "Sequence"), key: list(parts)}


def charsmap(length):
    """Make a map whose texts are so long; its trie is empty."""
    data = (4).to_bytes(4, "little") + bytes(4) + b"x" * length + b"\0"
    return {
        "type": "Precompiled",
        "precompiled_charsmap": base64.b64encode(data).decode(),
    }


def template(pieces, ids=()):
    special = {"X": {"id": "X", "ids": list(ids), "tokens": ["a"] * len(ids)}}
    return {
        "type": "TemplateProcessing", "single": pieces, "pair": [], "special_tokens": special,
    }  # fmt: skip


def added(content, *, normalized=False):
    return {"id": 512, "content": content, "normalized": normalized, **BLANK}


LONG = "b" * 1_000_000
BAD = {
    "replacements of replacements": {
        "normalizer": chain("normalizers", *[replace("x", "x" * 100)] * 6)
    },
    "of a letter that is in few texts, fewer times than are refused at once": {
        "normalizer": chain("normalizers", *[replace("\u00e9", "\u00e9" * 100)] * 3)
    },
    "between any two letters": {
        "normalizer": chain("normalizers", *[replace("", "y" * 1000, "Regex")] * 2)
    },
    "before the text": {
        "normalizer": chain("normalizers", *[{"type": "Prepend", "prepend": "ab" * 2000}] * 3)
    },
    "a character map with a long text": {
        "normalizer": chain("normalizers", charsmap(5000), charsmap(5000))
    },
    "bytes of bytes": {"normalizer": chain("normalizers", *[{"type": "ByteLevel"}] * 30)},
    "pieces of bytes of bytes": {"pre_tokenizer": chain("pretokenizers", *[BYTES] * 30)},
    "decoding": {"decoder": chain("decoders", *[replace("x", "x" * 100)] * 5)},
    "the text again and again": {"post_processor": template([TEXT] * 1000)},
    "a million tokens around each text": {
        "post_processor": template([TEXT, *[NAMED] * 1000], [0] * 1000)
    },
    "an unknown token of a megabyte": {"model": {"unk_token": LONG, "vocab": {LONG: 600}}},
    "a token of a megabyte that has the id of a letter": {"model": {"vocab": {LONG: "x"}}},
    "a token of two thousand letters that has the id of one": {
        "model": {"vocab": {LONG[:2000]: "x"}}
    },
    "added tokens of a megabyte": {"added_tokens": [added(LONG)]},
    "added tokens that are normalized": {
        "normalizer": chain("normalizers", *[replace("x", "x" * 100)] * 3),
        "added_tokens": [added("x" * 900, normalized=True)],
    },
    "a tree of tokens": {
        "model": {
            "type": "Unigram", "unk_id": 0, "byte_fallback": False,
            "vocab": [[f"{i}" + "x" * 9000, -1.0] for i in range(2000)],
        }
    },
    "words without end": {
        "model": {
            "type": "WordPiece", "unk_token": "x", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 10**9,
        }
    },
    "a number of tokens": {"tokenizer_config.json": {"extra_ids": 10**9}},
    "an id of a token": {
        "tokenizer_config.json": {"added_tokens_decoder": {"2000000000": {"content": "z"}}}
    },
    "settings that are too large": {"tokenizer_config.json": {"x": "x" * (17 << 20)}},
}  # fmt: skip

PROGRAM = """
import json, resource, sys
from pathlib import Path
from bids_core.config.model import ModelConfig
from bids_core.data.tokenization import tokenize_examples
from bids_core.errors import ModelError
from bids_core.models.load import load_tokenizer
from bids_core.models.panics import is_panic
from bids_core.records import Example, Message
limit = 8 << 30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
turns = (Message("user", "x\\u00e9" * 60), Message("assistant", "hello"))
rows = [Example(row_id="1", source="s", location="s:1", messages=turns)]
def used():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
def tokens(folder):
    tokenizer = load_tokenizer(ModelConfig(path=folder, device="cpu"))
    found = list(tokenize_examples(rows, tokenizer, 1024))
    tokenizer.decode([0, 1, 2])
    return found
print(json.dumps(type(tokens(sys.argv[1])[0]).__name__))
for folder in sys.argv[2:]:
    before = used()
    try:
        tokens(folder)
        said = "no error"
    except ModelError as error:
        said = str(error)
    print(json.dumps([said, (used() - before) // 1024]), flush=True)
"""


def spoiled(good, folder, parts):
    """Copy the model with parts of its tokenizer.json and its settings replaced."""
    shutil.copytree(good, folder)
    config = parts.get("tokenizer_config.json")
    if config is not None:
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
    found = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = found["model"]["vocab"]
    for name, part in parts.items():
        if name == "model":
            more = part.get("vocab", {})
            if isinstance(more, dict):
                ids = {token: vocabulary.get(number, number) for token, number in more.items()}
                part = part | {"vocab": vocabulary | ids}
            found["model"] |= part
            if part.get("type", "BPE") != "BPE":
                del found["model"]["merges"]
        elif name != "tokenizer_config.json":
            found[name] = part
    (folder / "tokenizer.json").write_text(json.dumps(found))


def test_each_is_one_line_within_memory(tiny_model_folder, tmp_path):
    folders = {name: tmp_path / str(number) for number, name in enumerate(BAD)}
    for name, folder in folders.items():
        spoiled(tiny_model_folder, folder, BAD[name])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tiny_model_folder), *map(str, folders.values())],
        capture_output=True, text=True,
    )  # fmt: skip
    first, *lines = done.stdout.splitlines()
    assert json.loads(first) == "Tokenized"
    found = dict(zip(BAD, map(json.loads, lines), strict=False))
    assert len(found) == len(BAD), (list(BAD)[len(found)], done.stderr[-500:])
    for name, (said, megabytes) in found.items():
        assert "real tokenizer" in said, (name, said)
        assert str(folders[name]) in said
        assert "\n" not in said
        assert megabytes < 600, (name, megabytes)


def test_a_tokenizer_json_of_gigabytes_is_not_read(tiny_model_folder, tmp_path):
    shutil.copytree(tiny_model_folder, tmp_path / "bad")
    with (tmp_path / "bad" / "tokenizer.json").open("r+b") as file:
        file.truncate(3 << 30)  # holes, which take no room
    with pytest.raises(Exception, match=r"tokenizer.json .* 3,221,225,472 bytes, the limit is"):
        load_tokenizer(ModelConfig(path=str(tmp_path / "bad"), device="cpu"))


@pytest.mark.parametrize("part", [
    {"normalizer": chain("normalizers", replace("\u00e9", "e"), {"type": "NFKC"},
                         replace(" {2,}", "\u2581", "Regex"))},
    {"normalizer": chain("normalizers", {"type": "Prepend", "prepend": "\u2581"},
                         replace(" ", "\u2581"))},
    {"pre_tokenizer": chain("pretokenizers", {"type": "Digits", "individual_digits": True}, BYTES)},
    {"decoder": chain("decoders", replace("\u2581", " "), {"type": "ByteFallback"},
                      {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0})},
    {"post_processor": template([NAMED, TEXT], [1])},
    {"model": {"vocab": {"b" * 1024: 600}}},
    {"tokenizer_config.json": {"model_max_length": 10**30, "image_token_id": 151655}},
])  # fmt: skip
def test_what_real_ones_do_goes_on_working(tiny_model_folder, tmp_path, part, monkeypatch):
    spoiled(tiny_model_folder, tmp_path / "good", part)
    tokenizer = load_tokenizer(ModelConfig(path=str(tmp_path / "good"), device="cpu"))
    text = "hello \u00e9\u0939\U0001f600 " * 20
    (found,) = encode([text], tokenizer)
    monkeypatch.setattr(tokenizer_growth, "_TEXT_CHARACTERS", 100)  # so that it is measured
    monkeypatch.setattr(tokenizer_growth, "_SLICE_CHARACTERS", 100)
    (measured,) = encode([text], tokenizer)
    assert measured[0].tolist() == found[0].tolist() != []


def test_long_texts_go_few_at_a_time_and_come_out_the_same(tokenizer, monkeypatch):
    texts = ["one two", "", "three " * 30, "four", "five " * 5, ""]
    whole = encode(texts, tokenizer)
    calls = []

    def counted(texts, *args):
        calls.append(len(texts))
        return original(texts, *args)

    original = literal._encode
    monkeypatch.setattr(literal, "_encode", counted)
    monkeypatch.setattr(literal, "_CHARACTERS_PER_CALL", 30)
    found = encode(texts, tokenizer)
    assert calls == [2, 1, 3]
    assert [[a.tolist() for a in e] for e in found] == [[a.tolist() for a in e] for e in whole]


def known(module, table):
    """Return the types of the library that take no settings, as `growth` names them."""
    names = {name for name in dir(module) if isinstance(getattr(module, name), type)}
    return names - {"Sequence", "Replace", "Prepend", "Precompiled"} - set(table)


def test_no_type_of_the_library_is_unknown():
    base = {"Normalizer", "PreTokenizer", "Decoder", "BertNormalizer", "DecodeStream"}
    assert not known(normalizers, NORMALIZERS) - base
    assert not known(pre_tokenizers, PRE_TOKENIZERS) - base
    assert not known(decoders, DECODERS) - base


PLAIN = [name for name in NORMALIZERS if hasattr(normalizers, name)]


@pytest.mark.parametrize("name", PLAIN)
def test_no_character_grows_by_more_than_the_table_says(name):
    normalize = getattr(normalizers, name)().normalize_str
    assigned = (chr(i) for i in range(0x30000) if unicodedata.category(chr(i)) not in ("Cs", "Cn"))
    grown = {char: length for char in assigned if (length := len(normalize(char))) > 1}
    assert max(grown.values(), default=1) <= NORMALIZERS[name]


_CONTENTS = st.text("ab \u00e9\ufdfa", max_size=5)
_PARTS = st.one_of(
    st.sampled_from(PLAIN).map(lambda name: {"type": name}).filter(lambda p: p["type"] not in (
        "Strip", "BertNormalizer")),
    st.builds(replace, st.text("ab \u00e9", min_size=1, max_size=3), _CONTENTS),
    st.builds(replace, st.sampled_from(["a*", "[ab]", " {2,}", "(?=b)", "."]), _CONTENTS,
              st.just("Regex")),
    st.builds(lambda text: {"type": "Prepend", "prepend": text}, st.text("ab", min_size=1)),
)  # fmt: skip


@given(st.lists(_PARTS, max_size=3), st.text("ab \u00e9\ufdfa\u0130", min_size=1, max_size=8))
def test_no_chain_makes_more_characters_than_is_said(parts, text):
    part = chain("normalizers", *parts)
    model = {"type": "BPE", "vocab": {"a": 0}, "merges": []}
    whole = {"version": "1.0", "added_tokens": [], "normalizer": part, "model": model}
    found = tokenizers.Tokenizer.from_str(json.dumps(whole))
    try:
        made = len(found.normalizer.normalize_str(text))
    except BaseException as error:
        if not is_panic(error):  # which makes nothing, and is one line: test_hostile_tokenizers
            raise
        return
    assert made <= (len(text) + 1) * growth(part, NORMALIZERS)
