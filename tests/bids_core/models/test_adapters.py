"""What is plain of adapters without peft is what peft makes of them."""

from __future__ import annotations

import pytest
from conftest import build_llama

from bids_core.config import LoraConfig
from bids_core.models.adapters import add_lora, reaches_all_layers, unreached_layers

PLAIN = [
    ("q_proj", "k_proj", "v_proj", "o_proj"), ("down_proj",), ("gate_proj", "v_proj"),
]  # fmt: skip
NOT_PLAIN = [
    "all-linear", r".*layers\.0\..*q_proj", ("q_proj", "nope"), ("mlp",),
    ("embed_tokens", "q_proj"), ("layers.0.self_attn.q_proj",), ("model",),
]  # fmt: skip


@pytest.mark.parametrize("targets", PLAIN)
def test_where_it_is_plain_peft_reaches_all_layers(targets):
    lora = LoraConfig(r=2, target_modules=targets)
    assert reaches_all_layers(build_llama(64), lora)
    assert unreached_layers(add_lora(build_llama(64), lora, seed=0)) is None


@pytest.mark.parametrize("targets", NOT_PLAIN)
def test_everything_else_is_left_to_peft(targets):
    assert not reaches_all_layers(build_llama(64), LoraConfig(r=2, target_modules=targets))
