"""The count of activations against the tensors that autograd really saves."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.autograd.graph import saved_tensors_hooks
from transformers import LlamaConfig, LlamaForCausalLM

from bids_core.models.loss import LabelRows, example_losses, output_head
from bids_core.planning.footprint import Batch, ModelSize, evaluation_memory, training_memory

TOKENS = 192


@pytest.fixture(params=["bfloat16", "float32"])
def model(request):
    config = LlamaConfig(
        vocab_size=64, hidden_size=64, intermediate_size=160, num_hidden_layers=6,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    base = LlamaForCausalLM(config).to(getattr(torch, request.param)).requires_grad_(False)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
    # with dropout each adapter keeps an input of its own, whatever the dtype
    return get_peft_model(base, LoraConfig(r=2, lora_dropout=0.1, target_modules=targets))


def saved_bytes(model):
    ids = torch.randint(64, (2, TOKENS))
    labels = torch.full_like(ids, -100)
    labels[:, -1] = ids[:, -1]
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = tensor, storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = example_losses(model, batch, LabelRows.of(labels), head=output_head(model)).sum()
    assert loss.requires_grad
    return sum(size for _, size in kept.values()) / ids.numel()


def test_the_count_is_that_of_the_saved_tensors(model):
    size = ModelSize.of(model)
    assert size.adapter_inputs == 2 * 6 * 4 * 64  # inputs and masks
    assert size.training_bytes() == pytest.approx(saved_bytes(model), rel=0.02)


def test_what_makes_a_stage_larger(model):
    size = ModelSize.of(model)
    small, large = (Batch.of(n, longest=100, label_share=0.5) for n in (1000, 4000))
    assert (large.tokens, large.labels) == (4000, 2000)
    assert Batch.of(50, longest=100, label_share=0.5).tokens == 100
    assert Batch.of(4000, longest=100, label_share=0.5, rows=8).tokens == 800
    more = training_memory(size, large) - training_memory(size, small)
    each = 3000 * size.training_bytes() + 1500 * size.logit_bytes()
    assert more == pytest.approx(1.25 * each, abs=2)
    small_batch = Batch(1, 1)
    full = training_memory(size, small_batch, full=True)
    assert full - training_memory(size, small_batch) > 15 * size.n_parameters
    assert evaluation_memory(size, large) < training_memory(size, large)
    checkpointed = ModelSize.of(model, checkpointing=True)
    assert checkpointed.training_bytes() < size.training_bytes() / 3
