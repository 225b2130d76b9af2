from __future__ import annotations

import shutil

import pytest
import torch

from bids_core.config import LoraConfig, ModelConfig
from bids_core.errors import ModelError
from bids_core.models.adapters import add_lora
from bids_core.models.load import (
    choose_device,
    choose_dtype,
    load_base,
    load_tokenizer,
    resolve_model,
)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/no/such/folder", "not a folder"),
        ("./no-such-folder", "not a folder"),
        ("just-a-word", "hub name"),
        ("bundled:gpt-9", "smollm2-135m-instruct"),
    ],
)
def test_a_model_that_is_not_there_is_one_line(path, words):
    with pytest.raises(ModelError, match=words) as caught:
        resolve_model(ModelConfig(path=path))
    assert "\n" not in str(caught.value)


def test_a_hub_name_without_a_hub_is_one_line(monkeypatch):
    import huggingface_hub

    def refuse(*args, **kwargs):
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ModelError, match="org/name is neither a folder nor reachable"):
        resolve_model(ModelConfig(path="org/name"))


def test_a_folder_without_a_config_is_no_model(tmp_path):
    with pytest.raises(ModelError, match="config.json"):
        resolve_model(ModelConfig(path=str(tmp_path)))


def test_the_digest_follows_the_content(tiny_model_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_model_folder, copy)
    digest = resolve_model(ModelConfig(path=str(tiny_model_folder))).digest
    assert resolve_model(ModelConfig(path=str(copy))).digest == digest
    other = tmp_path / "other"
    shutil.copytree(tiny_model_folder, other)
    text = (other / "config.json").read_text()
    (other / "config.json").write_text(text.replace('"rms_norm_eps"', '"rms_norm_epsilon"'))
    assert resolve_model(ModelConfig(path=str(other))).digest != digest


def test_base_weights_are_frozen_and_adapters_float32(tiny_model_folder):
    config = ModelConfig(path=str(tiny_model_folder), dtype="bfloat16", device="cpu")
    base = load_base(config)
    assert not any(p.requires_grad for p in base.parameters())
    assert next(base.parameters()).dtype == torch.bfloat16
    model = add_lora(base, LoraConfig(r=2), seed=0)
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert trainable
    assert {p.dtype for p in trainable} == {torch.float32}


def test_adapters_depend_on_the_seed_alone(tiny_model_folder):
    config = ModelConfig(path=str(tiny_model_folder), device="cpu")

    def first(seed):
        model = add_lora(load_base(config), LoraConfig(r=2), seed=seed)
        return next(p for n, p in model.named_parameters() if "lora_A" in n)

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


def test_target_modules_that_match_nothing_are_refused(tiny_model_folder):
    base = load_base(ModelConfig(path=str(tiny_model_folder), device="cpu"))
    with pytest.raises(ModelError, match="target_modules"):
        add_lora(base, LoraConfig(target_modules=("nothing",)), seed=0)


def test_devices_and_dtypes():
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(ModelError, match="not a device"):
        choose_device("tpuu")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="not available"):
            choose_device("cuda")
    cpu = torch.device("cpu")
    assert choose_dtype("float16", cpu) == torch.float16
    assert choose_dtype("auto", cpu) in (torch.bfloat16, torch.float32)


def test_a_chat_template_file_replaces_the_tokenizers_own(tiny_model_folder, tmp_path):
    template = tmp_path / "t.jinja"
    template.write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    config = ModelConfig(path=str(tiny_model_folder), chat_template=str(template))
    tokenizer = load_tokenizer(config)
    assert (
        tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"
    )
    with pytest.raises(ModelError, match="chat_template"):
        load_tokenizer(config.model_copy(update={"chat_template": str(tmp_path / "none")}))


@pytest.mark.parametrize("error", [ValueError("Expecting value\nline 1"), RuntimeError(""),
                                   OSError("no route"), KeyError("sha")])  # fmt: skip
def test_a_hub_that_answers_with_anything_is_one_line(monkeypatch, error):
    def answer(*_, **__):
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", answer)
    with pytest.raises(ModelError, match="org/name is neither a folder nor reachable") as caught:
        resolve_model(ModelConfig(path="org/name"))
    assert "\n" not in str(caught.value)
