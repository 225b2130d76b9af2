"""Fresh LoRA adapters: attached to the language model alone; which of its layers they reach."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from bids_core.errors import ModelError
from bids_core.models.facts import is_composite
from bids_core.models.loss import causal_lm, output_head
from bids_core.sandbox import expression

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from peft import PeftModel
    from transformers import PreTrainedModel

    from bids_core.config import LoraConfig

_SHOWN: Final = 8
"""Most layer names listed in a message."""
_PLAIN_NAME: Final = re.compile(r"[\w.-]+")


def add_lora(model: PreTrainedModel, lora: LoraConfig, *, seed: int) -> PeftModel:
    """Attach fresh adapters (float32), initialised from `seed`.

    In a multimodal model they go on the language model alone: text reaches nothing else.

    Raises:
        ModelError: no layer has one of the target names.
        ConfigError: matching a regular expression takes too long.
    """
    import peft

    targets: Any = lora.target_modules
    settings = peft.LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        exclude_modules=_beside_the_language_model(model),
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(seed)
    linear = _linear_layers(model)
    check_patterns({"target_modules": targets}, model, key="lora")
    try:
        return peft.get_peft_model(model, settings)
    except ValueError as error:
        reason, names = str(error).splitlines()[0], _listed(_last_names(linear))
        if "lora_dropout" in reason:  # experts stored as one tensor
            msg = f"lora.dropout: {reason} Set it to 0, or name linear layers as targets"
        elif "not found in the base model" in reason:
            wanted = targets if isinstance(targets, str) else ", ".join(targets)
            msg = f"lora.target_modules: the model has no {wanted}; its linear layers are {names}"
        else:
            msg = f"lora.target_modules: {reason} The model's linear layers are {names}"
        raise ModelError(msg) from error


def check_patterns(adapter: Mapping[str, Any], model: nn.Module, *, key: str) -> None:
    """Check the regular expressions in adapter settings: peft matches them without a time limit.

    Args:
        adapter: the settings, as in peft's adapter_config.json.
        model: the expressions are matched against its modules.
        key: what the settings are called in messages.

    Raises:
        ConfigError: one is invalid, or takes too long on a module's name.
    """
    found = [(name, adapter.get(name)) for name in ("target_modules", "exclude_modules")]
    whole = [(name, value) for name, value in found if isinstance(value, str)]  # lists: names
    for name in ("rank_pattern", "alpha_pattern", "layers_pattern"):
        value = adapter.get(name) or ()
        parts = [value] if isinstance(value, str) else list(value)
        whole += [(name, rf"(.*\.)?({part})(\.(\d+)\..*)?") for part in parts]
    for name, text in whole:
        if _PLAIN_NAME.fullmatch(text):
            continue
        pattern = expression(text, key=f"{key}.{name}")
        for module, _ in model.named_modules():
            pattern.matches_whole(module)


def reaches_all_layers(model: PreTrainedModel, lora: LoraConfig) -> bool:
    """Return whether adapters are known, without asking peft, to reach every decoder layer.

    They do if each target is the name of linear layers only, and every decoder layer has one. In
    other cases (an expression, a multimodal model, a target of another kind) ask peft, whose import
    takes seconds: `add_lora`, then `unreached_layers`.
    """
    inner: Any = causal_lm(model)
    targets = lora.target_modules
    if isinstance(targets, str) or is_composite(inner.config):
        return False
    kinds = {name: type(module) for name, module in model.named_modules()
             if name.rpartition(".")[2] in targets}  # fmt: skip
    found = {name.rpartition(".")[2] for name in kinds}
    layers = _layers(model)
    if layers is None or found != set(targets) or set(kinds.values()) != {nn.Linear}:
        return False
    return all(
        any(name.rpartition(".")[2] in found for name, _ in layer.named_modules())
        for layer in layers
    )


def last_layer_names(model: PeftModel, count: int) -> list[str]:
    """Return the trainable parameters in or after the last decoder layers.

    Args:
        model: with trainable adapters.
        count: number of decoder layers, from the end.

    Returns:
        Names, in the order of `model.named_parameters()`.

    Raises:
        ModelError: the model has fewer layers, they cannot be found, or none of the last ones has
            an adapter.
    """
    layers = _layers(model)
    if layers is None:
        msg = "gradients.layers: the model's decoder layers cannot be found; leave it null"
        raise ModelError(msg)
    if count > len(layers):
        msg = f"gradients.layers is {count}, and the model has {len(layers)} decoder layers"
        raise ModelError(msg)
    inner: Any = causal_lm(model)
    before = [inner.get_input_embeddings(), *layers[: len(layers) - count]]
    earlier = {id(parameter) for module in before for parameter in module.parameters()}
    names = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and id(parameter) not in earlier
    ]
    if not names:
        msg = (
            f"gradients.layers: the last {count} decoder layers have no adapter; take more, or "
            "name their linear layers in lora.target_modules"
        )
        raise ModelError(msg)
    return names


def train_last_layers(model: PeftModel, count: int) -> list[str]:
    """Leave only parameters in or after the last decoder layers trainable.

    A backward pass stops where nothing earlier needs a gradient, so it gets shorter accordingly.
    The model is changed; arguments, result and errors are those of `last_layer_names`.
    """
    names = last_layer_names(model, count)
    kept = set(names)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name in kept
    return names


def unreached_layers(model: PeftModel) -> str | None:
    """Describe which decoder layers have no adapter; None if all have one.

    Mamba layers have no `q_proj`, so the default targets miss them in hybrid models.
    """
    layers = _layers(model)
    if layers is None:
        return None
    reached = [index for index, layer in enumerate(layers) if _has_adapter(layer)]
    if not reached or len(reached) == len(layers):
        return None
    others = [layer for index, layer in enumerate(layers) if index not in reached]
    names = _last_names(name for layer in others for name in _linear_layers(layer))
    return (
        f"lora.target_modules reach {len(reached)} of the model's {len(layers)} layers "
        f"(numbers {_listed([str(index) for index in reached])}); the others, whose linear "
        f"layers are {_listed(names)}, get no adapter: name those too, or use all-linear"
    )


def _beside_the_language_model(model: nn.Module) -> str | None:
    """Return a regular expression for the modules outside the language model and its head.

    None if there are none.
    """
    inner: Any = causal_lm(model)
    if not is_composite(inner.config):
        return None
    names = {module: name for name, module in inner.named_modules()}
    decoder, head = names[_decoder(inner)], output_head(inner)
    found: list[str] = []
    path = ""
    for part in decoder.split("."):
        prefix = f"{path}." if path else ""
        found += [
            f"{prefix}{name}"
            for name, child in inner.get_submodule(path).named_children()
            if name != part and child is not head
        ]
        path = f"{prefix}{part}"
    return rf"({'|'.join(re.escape(name) for name in found)})(\..*)?" if found else None


def _decoder(model: Any) -> nn.Module:
    found: nn.Module = model.get_decoder()
    return found


def _layers(model: nn.Module) -> nn.ModuleList | None:
    """Return the decoder layers in order; None if the model has no list of them."""
    modules = _decoder(causal_lm(model)).modules()
    return next((module for module in modules if isinstance(module, nn.ModuleList)), None)


def _has_adapter(layer: nn.Module) -> bool:
    return any(hasattr(module, "lora_A") for module in layer.modules())


def _linear_layers(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]


def _last_names(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name.rpartition(".")[2] for name in names))


def _listed(names: list[str]) -> str:
    if not names:
        return "none"
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
