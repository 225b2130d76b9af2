"""A warmup from another training: checkpoints of the Trainer, TRL, LLaMA-Factory or axolotl.

`examine` reports what is wrong with them before anything is computed; `import_warmup` writes them
as the warmup's own checkpoints, so later stages read both alike. Checkpoints of `WarmupCallback`
and of this project are read the same way.
"""

from __future__ import annotations

import logging
import re
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from bids_core.artifacts import file_digest
from bids_core.data.locate import absolute
from bids_core.errors import ConfigError
from bids_core.training.foreign_adapter import (
    CONFIG,
    WEIGHTS,
    adapter_extras,
    adapter_shapes,
    read_adapter_config,
    require_same_base,
    require_same_tokens,
)
from bids_core.training.kept import KEPT, read_kept
from bids_core.training.moments import AdamMoments
from bids_core.training.optimizer_files import (
    OURS,
    PLAIN,
    OptimizerState,
    read_optimizer,
    refusal,
    why_unreadable,
)
from bids_core.training.optimizer_groups import Shapes, names_of
from bids_core.training.rates import STATE, Schedule, given, read_log, schedule
from bids_core.training.warmup import CHECKPOINT, checkpoint_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bids_core.config import ModelConfig, WarmupConfig

logger = logging.getLogger(__name__)

_READ: Final = (WEIGHTS, CONFIG, STATE, KEPT, "scheduler.pt", *PLAIN, *OURS)
"""Files of a checkpoint that can change a result."""
_NUMBERED: Final = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True)
class External:
    """Checkpoints that were examined and fit.

    Args:
        folders: of the checkpoints, by step.
        steps: optimizer steps at each checkpoint.
        shapes: the trainable parameters, in the model's order.
        schedule: learning rates and losses of the steps that led to them.
        has_moments: whether all have readable Adam moments.
        remarks: warnings, one line each: what works but may be a mistake.
    """

    folders: tuple[Path, ...]
    steps: tuple[int, ...]
    shapes: Shapes
    schedule: Schedule
    has_moments: bool
    remarks: tuple[str, ...]


def find_checkpoints(paths: Sequence[str]) -> list[Path]:
    """Return the checkpoint folders that `warmup.checkpoints` names, directly or by their parent.

    Raises:
        ConfigError: the folder does not exist.
    """
    found: list[Path] = []
    for path in paths:
        folder = absolute(path, Path.cwd(), where="warmup.checkpoints")
        inside = [p for p in folder.glob("checkpoint-*") if _NUMBERED.fullmatch(p.name)]
        if not folder.is_dir():
            msg = (
                f"warmup.checkpoints: {path} is not a folder; give the folder of a "
                "checkpoint or of its training"
            )
            raise ConfigError(msg)
        found += sorted(inside, key=lambda p: int(p.name.rpartition("-")[2])) or [folder]
    twice = next((one for number, one in enumerate(found) if one in found[:number]), None)
    if twice is not None:
        raise ConfigError(f"warmup.checkpoints: {twice} is named twice; leave one out")
    return found


def checkpoint_digests(paths: Sequence[str]) -> list[dict[str, str]]:
    """Return a digest of each checkpoint file that can change a result."""
    return [
        {name: _digest(folder / name) for name in _READ if (folder / name).is_file()}
        for folder in find_checkpoints(paths)
    ]


def examine(model: ModelConfig, section: WarmupConfig, *, needs_moments: bool) -> External:
    """Check another tool's checkpoints the way they will be used.

    Args:
        model: our base model.
        section: with the checkpoints.
        needs_moments: whether the training feature reads Adam's moments.

    Raises:
        ConfigError: something does not fit; one line for the first problem.
    """
    folders = find_checkpoints(section.checkpoints)
    adapters = [read_adapter_config(folder) for folder in folders]
    for folder, adapter in zip(folders, adapters, strict=True):
        require_same_base(adapter, model, section, folder)
        _require_alike(adapters[0], adapter, folders[0], folder)
    remarks = require_same_tokens(model, folders[-1])
    shapes = next(adapter_shapes(model, folder) for folder in folders)
    folders, steps, found = _scheduled(folders, section)
    checkpoint_weights(found.learning_rates, found.epochs)
    why = next((f"{f}: {why}" for f in folders if (why := why_unreadable(f))), None)
    if needs_moments:
        for folder in folders:
            read_moments_of(folder, shapes)
    elif why is not None:
        remarks.append(f"warmup.checkpoints: {why}; the training feature does not need it")
    if extras := adapter_extras(adapters[0]):
        remarks.append(
            f"warmup.checkpoints: their adapters have {', '.join(extras)}; gradients are "
            "computed with it, but the fine-tuning's fresh adapters are plain LoRA"
        )
    return External(tuple(folders), tuple(steps), shapes, found, why is None, tuple(remarks))


def import_warmup(
    model: ModelConfig, section: WarmupConfig, *, needs_moments: bool, folder: Path
) -> dict[str, Any]:
    """Write another tool's checkpoints as the warmup's own.

    Args:
        model: our base model.
        section: with the checkpoints.
        needs_moments: whether the training feature reads Adam's moments.
        folder: where `checkpoint-1`, ... are written: the adapter, and the moments if readable.

    Returns:
        As `bids_core.training.warmup.warmup`, without what is unknown: rows and tokens.

    Raises:
        ConfigError: as for `examine`.
    """
    external = examine(model, section, needs_moments=needs_moments)
    decay: float | None = None
    with_moments = True
    for number, source in enumerate(external.folders, start=1):
        target = folder / CHECKPOINT.format(number)
        target.mkdir(parents=True)
        for name in (WEIGHTS, CONFIG):
            shutil.copyfile(source / name, target / name)
        try:
            moments, decay = read_moments_of(source, external.shapes)
        except ConfigError as error:
            if needs_moments:
                raise
            logger.warning("%s", error)
            with_moments = False
        else:
            moments.save(target)
    rates = external.schedule
    return {
        "losses": rates.losses,
        "learning_rates": rates.learning_rates,
        "epochs": rates.epochs,
        "tokens": 0,
        "seconds": 0.0,
        "checkpoint_weights": checkpoint_weights(rates.learning_rates, rates.epochs),
        "n_rows": None,
        "row_ids": [],
        "elsewhere": [
            {"folder": f"{source.parent.name}/{source.name}", "step": step}
            for source, step in zip(external.folders, external.steps, strict=True)
        ],
        "has_moments": with_moments,
        **({} if decay is None else {"weight_decay": decay}),
    }


def read_moments_of(folder: Path, shapes: Shapes) -> tuple[AdamMoments, float | None]:
    """Return a checkpoint's Adam moments by parameter name, and the weight decay if known.

    Raises:
        ConfigError: there are none, or it is unclear which parameter each belongs to.
    """
    if not any((folder / name).is_file() for name in PLAIN) and why_unreadable(folder) is None:
        moments = AdamMoments.load(folder)
        differing = sorted(set(moments.exp_avg) ^ set(shapes)) or [
            name for name, shape in shapes.items() if tuple(moments.exp_avg[name].shape) != shape
        ]
        if differing:
            why = f"its moments belong to other parameters, the first being {differing[0]}"
            raise ConfigError(refusal(folder, why))
        return moments, None
    state = read_optimizer(folder)
    names = names_of(state, shapes, folder)
    if not state.moments:
        raise ConfigError(refusal(folder, "its optimizer has not taken a step"))
    used = [group for group in state.groups if group.keys]
    if len({(group.betas, group.eps) for group in used}) > 1:
        why = (
            "its parameter groups have different betas or eps, which the Adam feature does "
            "not support"
        )
        raise ConfigError(refusal(folder, why))
    return _by_name(state, names, shapes), max(group.weight_decay for group in used)


def _by_name(state: OptimizerState, names: Mapping[int | str, str], shapes: Shapes) -> AdamMoments:
    """Return the moments in the model's order, zero for parameters that never got a gradient."""
    key_of = {name: key for key, name in names.items()}
    first: dict[str, torch.Tensor] = {}
    second: dict[str, torch.Tensor] = {}
    for name, shape in shapes.items():
        found = state.moments.get(key_of[name])
        first[name] = torch.zeros(shape) if found is None else found.first
        second[name] = torch.zeros(shape) if found is None else found.second
    group = next(group for group in state.groups if group.keys)
    steps = max(moments.step for moments in state.moments.values())
    return AdamMoments(first, second, group.betas, group.eps, steps)


def _scheduled(
    folders: Sequence[Path], section: WarmupConfig
) -> tuple[list[Path], list[int], Schedule]:
    """Return the checkpoints in order of steps, with the learning rates that led to them."""
    kept = [read_kept(folder) for folder in folders]
    if all(one is not None for one in kept):
        pairs = sorted(zip(folders, kept, strict=True), key=lambda pair: pair[1].step)  # type: ignore[union-attr]
        found = Schedule([], [], [])
        with_losses = all(len(one.losses) == len(one.learning_rates) for _, one in pairs)  # type: ignore[union-attr]
        for number, (_, one) in enumerate(pairs):
            assert one is not None  # noqa: S101 - checked above
            found.learning_rates.extend(one.learning_rates)
            found.losses.extend(one.losses if with_losses else [])
            found.epochs.extend([number] * len(one.learning_rates))
        ordered, steps = [folder for folder, _ in pairs], [one.step for _, one in pairs if one]
    else:
        logs = sorted(((read_log(folder), folder) for folder in folders), key=lambda p: p[0].step)
        ordered, steps = [folder for _, folder in logs], [log.step for log, _ in logs]
        found = Schedule([], [], [])
        if not section.checkpoint_rates:
            found = schedule([log for log, _ in logs], ordered)
    if len(set(steps)) < len(steps):
        place = next(i for i in range(1, len(steps)) if steps[i] == steps[i - 1])
        msg = (
            f"warmup.checkpoints: {ordered[place - 1]} and {ordered[place]} are both from step "
            f"{steps[place]}; give checkpoints of one training, each once"
        )
        raise ConfigError(msg)
    if section.checkpoint_rates:
        if len(section.checkpoint_rates) != len(ordered):
            msg = (
                f"warmup.checkpoint_rates: {len(section.checkpoint_rates)} learning rates for "
                f"{len(ordered)} checkpoints; give one for each, in order of their steps"
            )
            raise ConfigError(msg)
        found = given(section.checkpoint_rates)
    return ordered, steps, found


def _require_alike(
    first: Mapping[str, Any], other: Mapping[str, Any], folder: Path, beside: Path
) -> None:
    for name in ("r", "lora_alpha", "target_modules", "base_model_name_or_path", "modules_to_save"):
        one, two = first.get(name), other.get(name)
        if (sorted(one) if isinstance(one, list) else one) != (
            sorted(two) if isinstance(two, list) else two
        ):
            msg = (
                f"warmup.checkpoints: {folder} and {beside} differ in {name} ({one} and {two}); "
                "give checkpoints of one training"
            )
            raise ConfigError(msg)


def _digest(path: Path) -> str:
    stat = path.stat()
    return _digest_of(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=512)
def _digest_of(path: str, size: int, changed: int) -> str:  # noqa: ARG001 - part of the cache key
    return file_digest(Path(path))


def describe(summary: Mapping[str, Any]) -> str | None:
    """Return in words where a warmup comes from, None if it ran here."""
    elsewhere = summary.get("elsewhere")
    if not elsewhere:
        return None
    steps = ", ".join(str(one["step"]) for one in elsewhere)
    return f"{len(elsewhere)} checkpoints of an earlier training (steps {steps})"
