"""The optimizer state in another tool's checkpoint: which files, and what is in them.

Files are read with `weights_only`: tensors and numbers are read, no code runs. A file that cannot
be read correctly is refused in one line that says what to do instead.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import torch

from bids_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PLAIN: Final = ("optimizer.pt", "optimizer.bin")
"""The Trainer's own file, and accelerate's with FSDP's full state."""
OURS: Final = ("optimizer.safetensors", "optimizer.json")
"""The file this project writes."""
_PLAIN_GRADIENTS: Final = "take plain gradients (gradients.train_feature: sgd)"
_CALLBACK: Final = "train with WarmupCallback (docs/warmups.md)"
_BNB_NESTED: Final = "__bnb_optimizer_quant_state__"


@dataclass(frozen=True)
class Moments:
    """Adam's state of one parameter.

    Args:
        first: m, float32, in the parameter's shape.
        second: v, likewise.
        step: optimizer steps.
    """

    first: torch.Tensor
    second: torch.Tensor
    step: int


@dataclass(frozen=True)
class Group:
    """One parameter group.

    Args:
        keys: keys of its parameters in the state, in order: numbers, or names.
        names: the parameters' names, if the file has them (torch's `param_names`).
        betas: decay rates of m and v.
        eps: Adam's epsilon.
        weight_decay: decoupled weight decay.
        rate: learning rate of the next step.
    """

    keys: tuple[int | str, ...]
    names: tuple[str, ...] | None
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    rate: float


@dataclass(frozen=True)
class OptimizerState:
    """The contents of an optimizer's file.

    Args:
        groups: the parameter groups, in order.
        moments: of each parameter that ever got a gradient, by its key.
    """

    groups: tuple[Group, ...]
    moments: Mapping[int | str, Moments] = field(default_factory=dict)


def why_unreadable(folder: Path) -> str | None:
    """Return in words why a checkpoint's optimizer cannot be read; None if it can.

    Only file names are checked; problems inside a file show when it is read.
    """
    if any((folder / name).is_file() for name in PLAIN):
        return None
    if all((folder / name).is_file() for name in OURS):
        return None
    if any(folder.glob("global_step*")) or (folder / "latest").is_file():
        return (
            "its optimizer is in DeepSpeed's shards, which hold flattened pieces of all "
            "parameters: train with FSDP (full state) or without sharding"
        )
    if any(folder.glob("optimizer_[0-9]*")) or any(folder.glob("rank*-of-*-optimizer.pt")):
        return (
            "its optimizer is sharded: set fsdp_state_dict_type: FULL_STATE_DICT for the training"
        )
    return f"it has no {PLAIN[0]}: save it with save_only_model: false and save_strategy: epoch"


def read_optimizer(folder: Path) -> OptimizerState:
    """Read the optimizer state in another tool's checkpoint.

    Raises:
        ConfigError: there is none, or it is not Adam's; the message says what to do.
    """
    why = why_unreadable(folder)
    if why is not None:
        raise ConfigError(refusal(folder, why))
    path = next(folder / name for name in PLAIN if (folder / name).is_file())
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        why = (
            f"{path.name} cannot be read as tensors ({first[:120]}): it is damaged, or its "
            "optimizer has its own tensor type (torchao's 8-bit)"
        )
        raise ConfigError(refusal(folder, why)) from error
    if not isinstance(content, dict) or not {"state", "param_groups"} <= set(content):
        raise ConfigError(refusal(folder, f"{path.name} is not the state of a torch optimizer"))
    groups = tuple(_group(folder, group) for group in content["param_groups"])
    steps = {
        key: int(group["step"])
        for group in content["param_groups"]
        if "step" in group  # apex counts steps per group
        for key in group["params"]
    }
    moments = {
        key: _moments(folder, key, state, steps.get(key))
        for key, state in content["state"].items()
        if isinstance(state, dict) and state
    }
    return OptimizerState(groups, moments)


def refusal(folder: Path, why: str, *, is_adam: bool = True) -> str:
    """Return the message that refuses a checkpoint's optimizer.

    Args:
        folder: of the checkpoint.
        why: what is wrong, and how to fix it.
        is_adam: whether it may be Adam's, so that the callback could save it.
    """
    ways = f"{_CALLBACK}, or {_PLAIN_GRADIENTS}" if is_adam else _PLAIN_GRADIENTS
    return f"warmup.checkpoints: {folder}: {why}; or {ways}"


def _group(folder: Path, group: Mapping[str, Any]) -> Group:
    if group.get("use_muon") or "ns_steps" in group or "ns_coefficients" in group:
        why = "Muon has no second moments: train the adapters with AdamW"
        raise ConfigError(refusal(folder, why, is_adam=False))
    if "scale_parameter" in group or "clip_threshold" in group:
        why = "Adafactor keeps no first moments and only factors of the second: train with AdamW"
        raise ConfigError(refusal(folder, why, is_adam=False))
    if group.get("amsgrad"):
        why = "AMSGrad divides by the largest second moments so far: train with amsgrad off"
        raise ConfigError(refusal(folder, why))
    if "betas" not in group or "eps" not in group:
        why = "its optimizer is not Adam's: train with AdamW"
        raise ConfigError(refusal(folder, why, is_adam=False))
    names = group.get("param_names")
    beta1, beta2 = (float(beta) for beta in list(group["betas"])[:2])
    return Group(
        keys=tuple(group["params"]),
        names=None if names is None else tuple(str(name) for name in names),
        betas=(beta1, beta2),
        eps=float(group["eps"]),
        weight_decay=float(group.get("weight_decay", 0.0)),
        rate=float(group["lr"]),
    )


def _moments(folder: Path, key: int | str, state: Mapping[str, Any], step: int | None) -> Moments:
    if "step" in state:
        step = int(state["step"])
    try:
        first, second = adam_moments(state)
    except ValueError as error:
        why = f"its optimizer {error}: train with AdamW"
        raise ConfigError(refusal(folder, why, is_adam=False)) from error
    if step is None:
        raise ConfigError(
            refusal(folder, f"its optimizer does not say how many steps {key!r} took")
        )
    for name, moment in (("m", first), ("v", second)):
        if not torch.isfinite(moment.float()).all():
            why = f"Adam's {name} of parameter {key!r} is NaN or infinite: take earlier checkpoints"
            raise ConfigError(refusal(folder, why))
    return Moments(first.float(), second.float(), step)


def adam_moments(state: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return m and v of one parameter, as stored by torch or bitsandbytes.

    Raises:
        ValueError: they are missing; the message says what is stored instead.
    """
    inner = state.get(_BNB_NESTED)
    if isinstance(inner, dict):  # bitsandbytes packs its quantised tensors
        state = {name: value for name, value in state.items() if name != _BNB_NESTED} | inner
    if "exp_avg" in state and "exp_avg_sq" in state:
        return state["exp_avg"], state["exp_avg_sq"]
    if "state1" in state and "state2" in state:
        return _dequantised(state, 1), _dequantised(state, 2)
    held = ", ".join(sorted(str(name) for name in state)) or "nothing"
    msg = f"keeps {held}, not Adam's two moments"
    raise ValueError(msg)


def _dequantised(state: Mapping[str, Any], number: int) -> torch.Tensor:
    """Return a moment of bitsandbytes: float32 as it is, 8-bit codes decoded with block scales."""
    stored: torch.Tensor = state[f"state{number}"]
    if stored.dtype != torch.uint8:
        return stored
    code, scales = state.get(f"qmap{number}"), state.get(f"absmax{number}")
    if code is None or scales is None:
        msg = "keeps 8-bit moments without block scales, as old versions of bitsandbytes do"
        raise ValueError(msg)
    size = stored.numel()
    block = next(
        (width for width in (256, 2048, 4096) if -(-size // width) == scales.numel()), None
    )
    if block is None:
        msg = f"keeps {scales.numel()} scales for {size} values of 8 bits"
        raise ValueError(msg)
    values: torch.Tensor = code.float()[stored.reshape(-1).long()]
    widened: torch.Tensor = scales.float().repeat_interleave(block)[:size]
    return (values * widened).reshape(stored.shape)
