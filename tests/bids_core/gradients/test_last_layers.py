"""Gradients of the last decoder layers alone: the same coordinates, a shorter backward pass."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model

from bids_core.data.batches import collate
from bids_core.errors import ArtifactError, ModelError
from bids_core.gradients import (
    compute_features,
    make_projector,
    n_trainable,
    per_example_gradients,
    trainable_slots,
)
from bids_core.models.adapters import train_last_layers

LENGTHS = (19, 7, 12, 33)


@pytest.mark.parametrize("feature", ["adam", "sgd"])
def test_they_are_those_coordinates_of_the_whole_gradient(
    feature, lora_llama, examples_of, random_moments
):
    examples, moments = examples_of(LENGTHS), random_moments(lora_llama)
    whole = compute_features(
        lora_llama, examples, feature=feature, moments=moments,
        projector=make_projector("none", n_trainable(lora_llama), 1, 0),
    ).values  # fmt: skip
    slots = {slot.name: slot for slot in trainable_slots(lora_llama)}
    model = copy.deepcopy(lora_llama)
    names = train_last_layers(model, 1)
    assert names == [slot.name for slot in trainable_slots(model)]
    assert 0 < len(names) < len(slots)
    assert not any(".layers.0." in name for name in names)
    got = compute_features(
        model, examples, feature=feature, moments=moments.of(names),
        projector=make_projector("none", n_trainable(model), 1, 0),
    ).values  # fmt: skip
    expected = torch.cat(
        [whole[:, slots[n].offset : slots[n].offset + slots[n].numel] for n in names], dim=1
    )
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def test_all_layers_are_the_whole_gradient(lora_llama, examples_of):
    batch = collate(examples_of(LENGTHS), pad_token_id=0)
    model = copy.deepcopy(lora_llama)
    train_last_layers(model, model.config.num_hidden_layers)
    assert torch.equal(
        per_example_gradients(model, batch), per_example_gradients(lora_llama, batch)
    )


def test_the_backward_pass_ends_where_nothing_needs_it(lora_llama, examples_of):
    model = copy.deepcopy(lora_llama)
    train_last_layers(model, 1)
    needed = []
    layers = model.get_base_model().get_decoder().layers
    for layer in layers:
        layer.register_forward_hook(lambda _m, _a, out: needed.append(_state(out).requires_grad))
    batch = collate(examples_of(LENGTHS), pad_token_id=0)
    model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False)
    assert needed == [False] * (len(layers) - 1) + [True]


def _state(out):
    return out[0] if isinstance(out, tuple) else out


def test_what_cannot_be_is_named(lora_llama, random_moments):
    with pytest.raises(ModelError, match=r"gradients.layers is 9, and the model has \d decoder"):
        train_last_layers(lora_llama, 9)
    model = copy.deepcopy(lora_llama.get_base_model())
    first = get_peft_model(
        _without_adapters(model),
        LoraConfig(r=2, target_modules=["q_proj"], layers_to_transform=[0]),
    )
    with pytest.raises(ModelError, match="the last 1 decoder layers have no adapter"):
        train_last_layers(first, 1)
    with pytest.raises(ArtifactError, match="no parameter 'other'"):
        random_moments(lora_llama).of(["other"])


def _without_adapters(model):
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM(model.config)
