"""Llamas with random weights: speed does not depend on the weights."""

from __future__ import annotations

import torch
from gradients import with_adapters
from transformers import AutoModelForCausalLM, LlamaConfig

_SHAPES = {  # hidden, MLP, layers, query heads, key heads, vocabulary, tied
    "tiny": (64, 128, 2, 4, 2, 512, True),
    "small": (512, 1408, 4, 8, 4, 4096, True),
    "1b": (2048, 8192, 16, 32, 8, 128_256, True),  # Llama-3.2-1B
    "8b": (4096, 14_336, 32, 32, 8, 128_256, False),  # Llama-3-8B
}
RANK = 128  # the BIDS paper's
SMALL_RANK = 8


def config_of(name: str) -> LlamaConfig:
    hidden, mlp, layers, heads, keys, words, tied = _SHAPES[name]
    return LlamaConfig(
        vocab_size=words, hidden_size=hidden, intermediate_size=mlp, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=keys, tie_word_embeddings=tied,
        max_position_embeddings=8192,
    )  # fmt: skip


def rank_of(name: str) -> int:
    return RANK if name in ("1b", "8b") else SMALL_RANK


def random_llama(
    name: str, device: torch.device, dtype: torch.dtype, *, checkpointing: bool = False
) -> torch.nn.Module:
    """Return a model with adapters, made on the device without going through the host."""
    torch.manual_seed(0)
    with device:
        model = AutoModelForCausalLM.from_config(config_of(name), dtype=dtype)
    model.requires_grad_(requires_grad=False)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return with_adapters(model, rank_of(name)).to(device)


def adapter_sizes(name: str) -> list[int]:
    """Return the numbers of coordinates of the adapters' factors, layer by layer."""
    config, rank = config_of(name), rank_of(name)
    hidden = config.hidden_size
    keys = config.num_key_value_heads * (hidden // config.num_attention_heads)
    layer = [(hidden, hidden), (hidden, keys), (hidden, keys), (hidden, hidden)]  # q, k, v, o
    one = [rank * width for pair in layer for width in pair]
    return one * int(config.num_hidden_layers)


def flops_per_token(model: torch.nn.Module) -> int:
    """Return the operations of a forward and backward pass per token.

    The count is that of `bids_core.planning.planned_speed`, so the measured share of the peak can
    be used there; it excludes attention's products and the input embedding.
    """
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    return 4 * frozen + 6 * trained
