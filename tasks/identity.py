"""What identifies results: the slices of the configuration that can change them.

Device, batch and shard sizes, paths and names are left out on purpose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bids_core.config import FinetuneConfig, OptimizerConfig
from bids_core.gradients.extraction import validation_feature
from bids_core.models.load import choose_device, choose_dtype, resolve_model

if TYPE_CHECKING:
    from pydantic import BaseModel

    from bids_core.config import RunConfig


def sliced(section: BaseModel, *, without: set[str]) -> dict[str, Any]:
    """Return a section as JSON values, without the fields that can not change the result."""
    return section.model_dump(mode="json", exclude=without)


def model_identity(config: RunConfig) -> dict[str, Any]:
    """Return what identifies the base model: its content and how its weights are held."""
    quantization = config.model.quantization
    device = choose_device(config.model.device)
    return {
        "model": resolve_model(config.model).digest,
        "dtype": str(choose_dtype(config.model.dtype, device)),
        **({"quantization": quantization} if quantization != "none" else {}),
    }


def warmup_identity(config: RunConfig) -> dict[str, Any]:
    """Return what identifies the warmup, besides the pool."""
    return {
        **model_identity(config),
        "lora": sliced(config.lora, without=set()),
        "warmup": sliced(config.warmup, without={"tokens_per_batch"}),
        "seed": config.seed,
    }


def gradient_identity(config: RunConfig, split: str) -> dict[str, Any]:
    """Return what identifies gradient features, besides checkpoint and rows."""
    section = config.gradients
    train = section.train_feature
    feature = train if split == "train" else validation_feature(train)
    return {
        "feature": feature,
        "adam_mode": section.adam_mode if feature == "adam" else None,
        "projection": section.projection,
        "dim": section.dim if section.projection != "none" else None,
        "storage": section.storage,
        "on_nonfinite": section.on_nonfinite,
        "seed": config.seed,
        **({"damping": section.damping} if feature == "ekfac" else {}),
    }


def training_config(config: RunConfig) -> RunConfig:
    """Return the configuration as fine-tuning and evaluation see it: their model and adapters."""
    section = config.finetune
    changes = {"model": section.model or config.model, "lora": section.lora or config.lora}
    return config.model_copy(update=changes)


def finetune_seed(config: RunConfig) -> int:
    """Return the seed of a fine-tuning."""
    return config.seed if config.finetune.seed is None else config.finetune.seed


def selection_seed(config: RunConfig) -> int:
    """Return the seed of the selection methods that draw at random."""
    return config.seed if config.selection.seed is None else config.selection.seed


_ALWAYS: Final = frozenset(OptimizerConfig.model_fields) - {"tokens_per_batch"}
_OPTIONS: Final = ("kind", "packing", "save")
"""Options of the fine-tuning that enter its identity where they are not the default, so that
artifacts made before there were options are still found."""


def finetune_identity(config: RunConfig) -> dict[str, Any]:
    """Return what identifies a fine-tuning, besides its rows."""
    config = training_config(config)
    section = config.finetune.model_dump(mode="json")
    defaults = {name: FinetuneConfig.model_fields[name].default for name in _OPTIONS}
    options = {name: section[name] for name in _OPTIONS if section[name] != defaults[name]}
    return {
        **model_identity(config),
        "lora": sliced(config.lora, without=set()) if config.finetune.kind == "lora" else None,
        "finetune": {name: section[name] for name in _ALWAYS} | options,
        "seed": finetune_seed(config),
    }
