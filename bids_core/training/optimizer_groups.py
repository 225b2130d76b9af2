"""Which parameter is which in an optimizer state that only numbers them.

torch numbers parameters group by group, in the order within each group, which is not the order of
the model. How the tools make their groups is known (`_layouts`, each taken from their source):

- transformers' Trainer 4.36 to 5.23, and so TRL, LLaMA-Factory and axolotl by default: parameters
  with weight decay, then those without (norms and biases), both in the model's order. Which modules
  count as norms has changed between versions.
- LLaMA-Factory's other optimizers: those without decay first; LoRA+ in LLaMA-Factory and peft: A,
  B, B without decay, and embeddings, in two orders.
- axolotl with separate learning rates for embeddings: decayed, embeddings, not decayed.

A layout counts only if the number and shapes of all parameters match. If none does, parameters are
assigned by shape alone, provided there is only one way that keeps the model's order within each
group. A state that can be read in two ways is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from bids_core.errors import ConfigError
from bids_core.training.optimizer_files import OptimizerState, refusal

if TYPE_CHECKING:
    from pathlib import Path

Shapes = Mapping[str, tuple[int, ...]]
"""Trainable parameters in the order of `model.named_parameters()`, with their shapes."""
Grouped = list[list[str]]

# transformers >= 4.57: matched by name against the whole path
_NORM_NAMES: Final = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")
_WRAPPERS: Final = re.compile(
    r"(^|\.)(module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(?=\.)"
)
_MOST_GROUPS: Final = 4
"""Most groups among which parameters are distributed by shape."""


def plain_name(name: str) -> str:
    """Return a parameter's name without the parts added by wrappers (DDP, FSDP, compile)."""
    while (shorter := _WRAPPERS.sub("", name).removeprefix(".")) != name:
        name = shorter
    return name


def names_of(state: OptimizerState, shapes: Shapes, folder: Path) -> dict[int | str, str]:
    """Return the name of each parameter in an optimizer state.

    Args:
        state: the optimizer state.
        shapes: the trainable parameters of the model that was trained, in its order.
        folder: of the checkpoint, for messages.

    Raises:
        ConfigError: the state belongs to other parameters, or can be read in more than one way.
    """
    keys = [key for group in state.groups for key in group.keys]
    if all(isinstance(key, str) for key in keys):
        found = {key: plain_name(str(key)) for key in keys}
    elif all(group.names is not None for group in state.groups):
        names = [plain_name(name) for group in state.groups for name in group.names or ()]
        found = dict(zip(keys, names, strict=True))
    else:
        found = _by_layout(state, shapes, folder)
    _require_shapes(state, found, shapes, folder)
    return found


def _by_layout(state: OptimizerState, shapes: Shapes, folder: Path) -> dict[int | str, str]:
    keys = [list(group.keys) for group in state.groups]
    count = sum(map(len, keys))
    if count != len(shapes):
        why = (
            f"its optimizer has {count} parameters, its adapter {len(shapes)} trainable ones: "
            "the training froze some of them, or also trained others"
        )
        raise ConfigError(refusal(folder, why))
    ways = [way for layout in _layouts(shapes) if (way := _fitting(state, keys, layout, shapes))]
    if not ways:
        ways = _by_shape(state, keys, shapes, folder)
    first = ways[0]
    for other in ways[1:]:
        if (
            differing := next((key for key in first if first[key] != other[key]), None)
        ) is not None:
            raise ConfigError(refusal(folder, _ambiguous(first[differing], other[differing])))
    return first


def _ambiguous(one: str, other: str) -> str:
    return (
        f"the moments of {one} and of {other} could be swapped: they have the same shape, and "
        "the training's parameter groups are unknown"
    )


def _layouts(shapes: Shapes) -> list[Grouped]:
    """Return the known ways in which tools group parameters, without duplicates."""
    names = list(shapes)
    rules: tuple[Callable[[str], bool], ...] = (
        lambda name: not _NORM_NAMES.search(name.lower()),
        lambda name: "bias" not in name,  # before 4.57, if the model's norms are not LayerNorms
        lambda name: len(shapes[name]) != 1,  # LayerNorms, whatever their name
    )
    found: list[Grouped] = [[names]]
    for decays in rules:
        decayed = [name for name in names if decays(name)]
        plain = [name for name in names if not decays(name)]
        found += [[decayed, plain], [plain, decayed]]
        found += _by_rates(names, shapes, decays)
        found.append(_with_embeddings(names, decays))
    return found


def _by_rates(names: list[str], shapes: Shapes, decays: Callable[[str], bool]) -> list[Grouped]:
    """Return LoRA+'s groups, as LLaMA-Factory and as peft order them."""
    embeddings = [name for name in names if "lora_embedding_" in name]
    others = [name for name in names if name not in set(embeddings)]
    second = [name for name in others if "lora_B" in name or len(shapes[name]) == 1]
    first = [name for name in others if name not in set(second)]
    decayed = [name for name in second if decays(name)]
    plain = [name for name in second if not decays(name)]
    return [[first, decayed, plain, embeddings], [first, embeddings, decayed, plain]]


def _with_embeddings(names: list[str], decays: Callable[[str], bool]) -> Grouped:
    """Return axolotl's groups with separate learning rates for embeddings."""
    embeddings = [
        name
        for name in names
        if name.endswith("modules_to_save.default.weight")
        or "embed_tokens" in name
        or "lm_head" in name
    ]
    others = [name for name in names if name not in set(embeddings)]
    return [[n for n in others if decays(n)], embeddings, [n for n in others if not decays(n)]]


def _fitting(
    state: OptimizerState, keys: list[list[int | str]], layout: Grouped, shapes: Shapes
) -> dict[int | str, str] | None:
    """Return the names by a layout if sizes and shapes fit (ignoring empty groups), else None."""
    there, wanted = [part for part in keys if part], [part for part in layout if part]
    if [len(part) for part in there] != [len(part) for part in wanted]:
        flat = [key for part in there for key in part]  # more groups, all in the model's order
        if len(wanted) != 1 or len(wanted[0]) != len(flat):
            return None
        there = [flat]
    found = {
        key: name
        for part, names in zip(there, wanted, strict=True)
        for key, name in zip(part, names, strict=True)
    }
    return found if all(_fits(state, key, shapes[name]) for key, name in found.items()) else None


def _fits(state: OptimizerState, key: int | str, shape: tuple[int, ...]) -> bool:
    moments = state.moments.get(key)
    return moments is None or tuple(moments.first.shape) == tuple(moments.second.shape) == shape


def _by_shape(
    state: OptimizerState, keys: list[list[int | str]], shapes: Shapes, folder: Path
) -> list[dict[int | str, str]]:
    """Return the ways (at most two) to assign parameters that keep their order in each group."""
    groups = [part for part in keys if part]
    names = list(shapes)
    if len(groups) <= _MOST_GROUPS:
        ways = _ways(state, groups, names, shapes)
        if ways:
            return ways
    held = sorted({tuple(m.first.shape) for m in state.moments.values()})
    why = (
        f"its optimizer's {len(groups)} groups with tensors of shapes {_listed(held)} do not fit "
        f"the adapter's {len(names)} parameters of shapes {_listed(sorted(set(shapes.values())))} "
        "(an optimizer that keeps moments of another size, such as GaLore, cannot be read)"
    )
    raise ConfigError(refusal(folder, why))


def _ways(
    state: OptimizerState, groups: Sequence[list[int | str]], names: list[str], shapes: Shapes
) -> list[dict[int | str, str]]:
    dead: set[tuple[int, ...]] = set()
    found: list[dict[int | str, str]] = []
    taken: list[int | str] = []

    def walk(places: tuple[int, ...]) -> bool:
        """Continue with this many parameters taken from each group; return whether that worked."""
        if places in dead or len(found) == 2:
            return False
        if len(taken) == len(names):
            found.append(dict(zip(taken, names, strict=True)))
            return True
        led = False
        for number, place in enumerate(places):
            group = groups[number]
            if place < len(group) and _fits(state, group[place], shapes[names[len(taken)]]):
                taken.append(group[place])
                led |= walk((*places[:number], place + 1, *places[number + 1 :]))
                taken.pop()
        if not led:
            dead.add(places)
        return led

    import sys

    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 4 * len(names) + 1000))
    try:
        walk(tuple(0 for _ in groups))
    finally:
        sys.setrecursionlimit(before)
    return found


def _require_shapes(
    state: OptimizerState, found: Mapping[int | str, str], shapes: Shapes, folder: Path
) -> None:
    """Check that a state with names belongs to these parameters, with the same shapes."""
    differing = sorted(set(found.values()) ^ set(shapes))
    if differing:
        why = (
            f"its optimizer and its adapter differ in {len(differing)} parameters, the first being "
            f"{differing[0]}"
        )
        raise ConfigError(refusal(folder, why))
    for key, name in found.items():
        if not _fits(state, key, shapes[name]):
            shape = tuple(state.moments[key].first.shape)
            why = f"Adam's moments of {name} have shape {shape}, the weight {shapes[name]}"
            raise ConfigError(refusal(folder, why))


def _listed(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes[:4]) + (
        ", ..." if len(shapes) > 4 else ""
    )
