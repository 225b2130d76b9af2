"""Tiny random models of many families, batches of mixed lengths, and the batch-of-one oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch

VOCABULARY = 96
_COMMON = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
_CHANGES = {
    "llama": {},
    "llama-tied": {"tie_word_embeddings": True},
    "mistral": {"sliding_window": 8},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "sliding_window": 8, "final_logit_softcapping": 5.0},
    "gemma3_text": {"head_dim": 8, "sliding_window": 8},
    "phi": {},
    "phi3": {},
    "cohere": {"logit_scale": 0.25},
    "granite": {"logits_scaling": 4.0},
    "olmo2": {},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": {
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 24,
    },
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "gpt_neox": {},
    "opt": {"word_embed_proj_dim": 32, "ffn_dim": 48},
    "bloom": {"n_layer": 2, "n_head": 4},
}  # fmt: skip
FAMILIES = list(_CHANGES)


def build(family: str, *, seed: int = 0):
    """Make a random float32 model of a family."""
    from transformers import AutoConfig, AutoModelForCausalLM

    kind = family.split("-")[0]
    common = dict(_COMMON)
    if kind == "gpt2":
        common = {k: v for k, v in _COMMON.items() if k.endswith("_id") or k == "vocab_size"}
    config = AutoConfig.for_model(kind, **(common | _CHANGES[family]))
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config)


def add_lora(model, *, seed: int = 1, **settings):
    """Wrap a model with LoRA whose B factors are not zero, so that every gradient is."""
    from peft import LoraConfig, get_peft_model

    chosen = {"r": 3, "lora_alpha": 6, "lora_dropout": 0.2, "target_modules": "all-linear"}
    wrapped = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **(chosen | settings)))
    torch.manual_seed(seed)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name or "lora_embedding_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return wrapped


def make_examples(lengths=(19, 7, 12, 19, 5), *, seed: int = 2, vocabulary: int = VOCABULARY):
    """Return examples of the given lengths; the first third of each is prompt."""
    from bids_core.records import IGNORED_LABEL, TokenizedExample

    rng = np.random.default_rng(seed)
    examples = []
    for index, length in enumerate(lengths):
        ids = rng.integers(3, vocabulary, length).astype(np.int32)
        labels = ids.copy()
        labels[: length // 3] = IGNORED_LABEL
        examples.append(TokenizedExample(f"row-{index}", ids, labels))
    return examples


def one_at_a_time(model, examples):
    """The oracle: autograd on unpadded batches of one, with the model's own loss."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    states = [(module, module.training) for module in model.modules()]
    model.eval()
    rows = []
    for example in examples:
        ids = torch.from_numpy(example.input_ids.astype(np.int64))[None]
        labels = torch.from_numpy(example.labels.astype(np.int64))[None]
        loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        grads = torch.autograd.grad(loss, parameters, allow_unused=True)
        filled = [
            torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads, strict=True)
        ]
        rows.append(torch.cat([g.reshape(-1).float() for g in filled]))
    for module, training in states:
        module.training = training
    return torch.stack(rows)


@pytest.fixture(scope="session")
def family_model():
    return build


@pytest.fixture(scope="session")
def with_lora():
    return add_lora


@pytest.fixture(scope="session")
def examples_of():
    return make_examples


@pytest.fixture(scope="session")
def oracle():
    return one_at_a_time


@pytest.fixture
def lora_llama():
    return add_lora(build("llama"))


@pytest.fixture
def random_moments():
    """Return Adam moments of a model's trainable parameters, of realistic size."""
    from bids_core.training.moments import AdamMoments

    def make(model, *, seed: int = 3, step: int = 7):
        torch.manual_seed(seed)
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        first = {n: 1e-4 * torch.randn(p.shape) for n, p in named}
        second = {n: 10 ** torch.empty(p.shape).uniform_(-12, -5) for n, p in named}
        return AdamMoments(first, second, (0.9, 0.999), 1e-8, step)

    return make
