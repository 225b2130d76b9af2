"""Model folders that lead elsewhere, bring code, or are damaged: one line, and nothing is run."""

from __future__ import annotations

import json
import pickle
import shutil
import socket
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from bids_core.config.model import ModelConfig
from bids_core.errors import ModelError
from bids_core.models.load import load_base, load_tokenizer, read_config


@pytest.fixture
def folder(tiny_model_folder, tmp_path):
    """A copy of a good folder, to be spoiled."""
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


@pytest.fixture
def no_network(monkeypatch):
    """Sockets that connect nowhere; what was asked for is listed."""
    asked = []

    def refuse(*args, **kwargs):
        asked.append(args)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return asked


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def load_all(folder):
    config = ModelConfig(path=str(folder), dtype="float32", device="cpu")
    read_config(config)
    load_tokenizer(config)
    load_base(config)


def adapter(folder, base):
    (folder / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": base, "peft_type": "LORA"})
    )


def weights_elsewhere(folder):
    (folder / "model.safetensors").rename(folder.parent / "other.safetensors")
    index = {"metadata": {}, "weight_map": {"model.norm.weight": "../other.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def code_of_its_own(folder):
    for name, kind in (("config.json", "AutoConfig"), ("tokenizer_config.json", "AutoTokenizer")):
        edit(folder / name, auto_map={kind: "own.Own"}, model_type="own", tokenizer_class="Own")
    (folder / "own.py").write_text(f"open({str(folder / 'RAN')!r}, 'w').close()")


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def pickled_weights(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(folder / "RAN")))


def kernel(folder):
    edit(folder / "config.json", attn_implementation="org/kernel")


def kernel_deep(folder):
    edit(folder / "config.json", text_config={"_attn_implementation": {"": "org/kernel"}})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: adapter(folder, "org/base"), "holds an adapter"),
        (lambda folder: adapter(folder, "/etc"), "holds an adapter"),
        (weights_elsewhere, r"names weights elsewhere \(\.\./other\.safetensors\)"),
        (code_of_its_own, "custom code"),
        (pickled_weights, "no file named model.safetensors"),
        (kernel, r"kernel from the hub \(org/kernel\)"),
        (kernel_deep, r"kernel from the hub \(org/kernel\)"),
    ],
)
def test_what_leads_elsewhere_or_is_code_is_refused(no_network, folder, spoil, message):
    spoil(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_all(folder)
    assert str(caught.value).startswith("model.path: ")
    assert "\n" not in str(caught.value)
    assert not (folder / "RAN").exists()
    assert no_network == []


def test_code_of_a_repository_for_a_known_kind_of_model_is_not_fetched(no_network, folder):
    edit(folder / "config.json", auto_map={"AutoModelForCausalLM": "org/repo--m.M"})
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["org/repo--t.T", None]})
    load_all(folder)
    assert no_network == []


DAMAGED = {
    "config.json": ["[]", "{", "{}", '{"model_type": 7}', '{"model_type": "llama", "x": 1e999}'],
    "tokenizer.json": ["", "{}", '{"added_tokens": 3}', "[[[["],
    "tokenizer_config.json": ["[]", "{", '{"tokenizer_class": 3}'],
    "model.safetensors": ["", "\x00" * 100, "garbage"],
}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param(n, text, id=f"{n}-{i}")
        for n, ts in DAMAGED.items()
        for i, text in enumerate(ts)
    ],
)
def test_a_damaged_file_is_one_line(no_network, folder, name, content):
    (folder / name).write_text(content)
    with pytest.raises(ModelError) as caught:
        load_all(folder)
    assert str(caught.value).startswith("model.path: ")
    assert no_network == []


@pytest.mark.parametrize("changes", [
    {"vocab_size": "many"}, {"vocab_size": 10**10}, {"hidden_size": -5},
])  # fmt: skip
def test_a_configuration_that_cannot_be_is_one_line(folder, changes):
    edit(folder / "config.json", **changes)
    with pytest.raises(ModelError, match=r"model\.path: "):
        load_all(folder)


def test_a_chat_template_that_is_no_text_is_one_line(folder, tmp_path):
    (tmp_path / "template").write_bytes(b"\xff\xfe\x00")
    config = ModelConfig(path=str(folder), chat_template=str(tmp_path / "template"))
    with pytest.raises(ModelError, match=r"model\.chat_template: .* cannot be read as text"):
        load_tokenizer(config)


def test_a_configuration_without_its_weights_takes_no_memory(folder):
    (folder / "config.json").write_text('{"model_type": "llama", "num_hidden_layers": 80}')
    with pytest.raises(ModelError, match="fetch the model again"):
        load_base(ModelConfig(path=str(folder), dtype="float32", device="cpu"))


def test_weights_that_are_missing_are_not_made_up(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 of the model's weights, .*up_proj\.weight"):
        load_base(ModelConfig(path=str(folder), dtype="float32", device="cpu"))
