"""4-bit base weights and activation checkpointing, through the pipeline's own loading."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import bids_core.models.load
from bids_core.config import LoraConfig, ModelConfig, OptimizerConfig
from bids_core.data.batches import collate
from bids_core.errors import ModelError
from bids_core.gradients import per_example_gradients
from bids_core.gradients.plan import plan_for
from bids_core.models.adapters import add_lora
from bids_core.models.load import load_base
from bids_core.records import IGNORED_LABEL, TokenizedExample
from bids_core.training.trainer import train

LORA = LoraConfig(r=3, alpha=6, dropout=0.0, target_modules="all-linear")


@pytest.fixture(scope="module")
def wide_folder(tmp_path_factory):
    """A random Llama whose layers are as wide as bitsandbytes' blocks."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=96, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=4)  # fmt: skip
    folder = tmp_path_factory.mktemp("wide")
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def examples(lengths=(19, 7, 12, 5)):
    rng = np.random.default_rng(0)
    made = []
    for index, length in enumerate(lengths):
        ids = rng.integers(3, 90, length).astype(np.int32)
        labels = ids.copy()
        labels[: length // 3] = IGNORED_LABEL
        made.append(TokenizedExample(f"r{index}", ids, labels))
    return made


def prepared(folder, **settings):
    config = ModelConfig(path=str(folder), dtype="float32", device="cpu", **settings)
    model = add_lora(load_base(config), LORA, seed=0)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def batches_of_one(model, rows):
    found = []
    parameters = [p for p in model.parameters() if p.requires_grad]
    model.eval()
    for row in rows:
        batch = collate([row], pad_token_id=0)
        loss = model(input_ids=batch["input_ids"], labels=batch["labels"], use_cache=False).loss
        grads = torch.autograd.grad(loss, parameters)
        found.append(torch.cat([grad.reshape(-1) for grad in grads]))
    return torch.stack(found)


def test_gradients_of_a_4bit_model_are_those_of_batches_of_one(wide_folder):
    pytest.importorskip("bitsandbytes")
    model = prepared(wide_folder, quantization="4bit")
    kinds = {type(module).__name__ for module in model.modules()}
    assert "Linear4bit" in kinds
    rows = examples()
    found = per_example_gradients(model, collate(rows, pad_token_id=0))
    expected = batches_of_one(model, rows)
    error = (found - expected).norm(dim=1) / expected.norm(dim=1)
    assert error.max() < 1e-4
    assert not plan_for(model).looped


def test_a_4bit_model_trains(wide_folder, tmp_path):
    pytest.importorskip("bitsandbytes")
    model = prepared(wide_folder, quantization="4bit")
    settings = OptimizerConfig(epochs=6, batch_size=4, learning_rate=0.02, warmup_ratio=0.0)
    log = train(model, examples(), settings, pad_token_id=0, seed=0, scratch=tmp_path)
    assert log.losses[-1] < log.losses[0]


def test_without_bitsandbytes_one_line_says_what_to_install(tiny_model_folder, monkeypatch):
    monkeypatch.setattr(bids_core.models.load, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install bitsandbytes") as caught:
        prepared(tiny_model_folder, quantization="4bit")
    assert "\n" not in str(caught.value)


def test_activation_checkpointing_changes_nothing_but_memory(tiny_model_folder, tmp_path):
    rows = examples()
    settings = OptimizerConfig(epochs=2, batch_size=2, learning_rate=0.01)
    plain, saving = (
        prepared(tiny_model_folder, activation_checkpointing=on) for on in (False, True)
    )
    counts = []
    for model in (plain, saving):
        layer = model.get_base_model().model.layers[0].self_attn
        counts.append([])
        layer.register_forward_hook(lambda *_, runs=counts[-1]: runs.append(1))
    batch = collate(rows, pad_token_id=0)
    torch.testing.assert_close(
        per_example_gradients(saving, batch), per_example_gradients(plain, batch)
    )
    for runs in counts:
        runs.clear()  # the engine's probe has passes without a backward one
    logs = [
        train(model, rows, settings, pad_token_id=0, seed=0, scratch=tmp_path)
        for model in (plain, saving)
    ]
    assert logs[0].losses == pytest.approx(logs[1].losses, rel=1e-5)
    assert len(counts[1]) == 2 * len(counts[0]), "every layer runs again in the backward pass"


def test_spreading_layers_needs_gpus(tiny_model_folder):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    config = ModelConfig(path=str(tiny_model_folder), device="spread")
    with pytest.raises(ModelError, match="spread needs GPUs"):
        load_base(config)
