"""Tiny random models of today's families, and what is right for them by the slowest way."""

from __future__ import annotations

import numpy as np
import torch

VOCABULARY = 96
_COMMON = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
_SLIDING = {
    "head_dim": 8, "sliding_window": 8, "num_hidden_layers": 3,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
}  # fmt: skip
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8}
_LINEAR = {
    "head_dim": 8, "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}  # fmt: skip
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}
_CHANGES = {
    "llama": {},
    "qwen3": {"head_dim": 8},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "mistral": {"sliding_window": 8},
    "gemma2": _SLIDING,
    "gemma3_text": _SLIDING,
    "gpt_oss": {"head_dim": 8, "sliding_window": 8, "num_local_experts": 4,
                "num_experts_per_tok": 2},
    "qwen3_5_text": _LINEAR,
    "qwen3_next": {**_LINEAR, **_EXPERTS, "moe_intermediate_size": 16,
                   "shared_expert_intermediate_size": 16},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "granitemoehybrid": {**_MAMBA, "mamba_n_groups": 1, "layer_types": ["mamba", "attention"],
                         "num_local_experts": 4, "num_experts_per_tok": 2,
                         "shared_intermediate_size": 48},
    "falcon_h1": {**_MAMBA, "mamba_d_ssm": 64, "head_dim": 8},
    "jamba": {**_EXPERTS, "attn_layer_period": 2, "attn_layer_offset": 1,
              "expert_layer_period": 2, "expert_layer_offset": 1, "mamba_d_state": 8,
              "mamba_dt_rank": 4},
    "mamba2": {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1, "expand": 2,
               "chunk_size": 16},
    "mamba": {"state_size": 8},
}  # fmt: skip
COMPOSITE = ("gemma3", "gemma4")
"""Models that see, of which only the language model is used."""
FAMILIES = (*_CHANGES, *COMPOSITE)
STATEFUL = (
    "qwen3_5_text", "qwen3_next", "lfm2", "granitemoehybrid", "falcon_h1", "jamba", "mamba2",
    "mamba",
)  # fmt: skip
TARGETS = {"gpt2": ("c_attn",), "mamba": ("in_proj",), "mamba2": ("in_proj",)}
"""LoRA targets of the models that have no q_proj."""


def build(family: str, *, seed: int = 0, vocabulary: int = VOCABULARY):
    """Make a random float32 model, with weights large enough that it does not repeat itself."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = _config(family, _COMMON | {"vocab_size": vocabulary})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    torch.manual_seed(seed + 1)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and "vision" not in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def _config(family: str, common: dict):
    from transformers import AutoConfig

    if family in COMPOSITE:
        return _composite(family, common)
    if family == "gpt2":
        common = {k: v for k, v in common.items() if k.endswith("_id") or k == "vocab_size"}
    return AutoConfig.for_model(family, **(common | _CHANGES[family]))


def _composite(family: str, common: dict):
    from transformers import Gemma3Config, Gemma4Config

    sight = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
             "num_attention_heads": 2}  # fmt: skip
    if family == "gemma3":
        return Gemma3Config(
            text_config=common | _SLIDING,
            vision_config=sight | {"image_size": 28, "patch_size": 14},
            mm_tokens_per_image=4,
            image_token_index=90,
            boi_token_index=91,
            eoi_token_index=92,
        )
    layers = {"vocab_size_per_layer_input": common["vocab_size"], "num_kv_shared_layers": 0,
              "hidden_size_per_layer_input": 8, "global_head_dim": 8}  # fmt: skip
    return Gemma4Config(
        text_config=common | _SLIDING | layers,
        vision_config=sight | {"num_key_value_heads": 2, "head_dim": 8, "patch_size": 4},
        audio_config=None,
        image_token_id=90,
        boi_token_id=91,
        eoi_token_id=92,
    )


def examples(lengths=(19, 30, 12, 19, 5), *, seed: int = 2):
    """Return examples of the given lengths, some beyond the windows; the first third is prompt."""
    from bids_core.records import IGNORED_LABEL, TokenizedExample

    rng = np.random.default_rng(seed)
    found = []
    for index, length in enumerate(lengths):
        ids = rng.integers(3, 80, length).astype(np.int32)
        labels = ids.copy()
        labels[: length // 3] = IGNORED_LABEL
        found.append(TokenizedExample(f"row-{index}", ids, labels))
    return found


def losses_apart(model, rows) -> torch.Tensor:
    """Return the summed token loss of each row, read alone without mask or cache."""
    found = []
    for row in rows:
        ids = torch.from_numpy(row.input_ids.astype(np.int64))[None]
        labels = torch.from_numpy(row.labels.astype(np.int64))[1:]
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
        found.append(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
    return torch.stack(found)


def gradients_apart(model, rows) -> torch.Tensor:
    """Return each row's gradient of its mean loss, by autograd on batches of one."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    model.eval()
    found = []
    for row in rows:
        n_labels = int((row.labels[1:] != -100).sum())
        loss = losses_apart(model, [row])[0] / n_labels
        grads = torch.autograd.grad(loss, parameters, allow_unused=True)
        filled = [
            torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads, strict=True)
        ]
        found.append(torch.cat([grad.reshape(-1).float() for grad in filled]))
    return torch.stack(found)


def answer_apart(model, prompt: list[int], limit: int, stops=(2,)) -> list[int]:
    """Generate greedily, one token at a time, reading the whole text for each."""
    ids = list(prompt)
    for _ in range(limit):
        with torch.no_grad():
            token = int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        if token in stops:
            break
        ids.append(token)
    return ids[len(prompt) :]
