"""Identities of results that more than one stage needs.

The values come from the configuration's own annotations (`bids_core.config.effects.sliced`); what a
value stands for (the files of a model, the dtype chosen by `auto`) is added here.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_core.config.slices import sliced
from bids_core.gradients import validation_feature
from bids_core.models.load import choose_device, choose_dtype, resolve_model
from bids_core.selection import METHODS

if TYPE_CHECKING:
    from bids_core.config import RunConfig


def model_identity(config: RunConfig, stage: str) -> dict[str, Any]:
    """Return the identity of a stage that loads the base model, besides its inputs.

    Args:
        config: the run, with the model that the stage loads (`training_config`).
        stage: name of the stage.
    """
    section = config.model
    device = choose_device(section.device) if section.dtype == "auto" else None
    return sliced(config, stage) | {
        "model_files": resolve_model(section).digest,
        "dtype": str(choose_dtype(section.dtype, device)),
    }


def gradient_identity(config: RunConfig, split: str) -> dict[str, Any]:
    """Return the identity of the gradient features of a split, besides checkpoint and rows."""
    section = config.gradients
    if split != "train":
        feature = validation_feature(section.train_feature)
        section = section.model_copy(update={"train_feature": feature})
    return sliced(config.model_copy(update={"gradients": section}), "gradients")


def tokenizer_digest(config: RunConfig) -> str:
    """Return a digest of the files that determine tokens and template, without the weights."""
    folder = resolve_model(config.model).folder
    names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "tokenizer.model",
             "special_tokens_map.json", "added_tokens.json", "vocab.json",
             "merges.txt")  # fmt: skip
    files = [folder / name for name in names]
    if config.model.chat_template is not None:
        files.append(Path(config.model.chat_template))
    digest = hashlib.sha256()
    for path in files:
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:32]


def training_config(config: RunConfig) -> RunConfig:
    """Return the configuration as fine-tuning and evaluation see it: model, adapters, seed."""
    section = config.finetune
    changes = {
        "model": section.model or config.model,
        "lora": section.lora or config.lora,
        "seed": config.seed if section.seed is None else section.seed,
    }
    return config.model_copy(update=changes)


def with_method(values: dict[str, Any], method: str) -> dict[str, Any]:
    """Return a stage's values with the method's identity in place of its location."""
    return values | {"selection": values["selection"] | METHODS[method].identity}


def selection_config(config: RunConfig, method: str) -> RunConfig:
    """Return the configuration as the selection with one method sees it: its method and seed."""
    section = config.selection
    return config.model_copy(
        update={
            "selection": section.model_copy(update={"method": method}),
            "seed": config.seed if section.seed is None else section.seed,
        }
    )
