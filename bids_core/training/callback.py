"""A Trainer callback that saves what influence needs, in any training.

    from bids_core.training import WarmupCallback

    trainer = SFTTrainer(..., callbacks=[WarmupCallback("warmup")])

At the end of each epoch it writes `warmup/checkpoint-<step>`: the adapter, Adam's moments by
parameter name, and the learning rates used; `warmup.checkpoints: [warmup]` reads them. Because the
moments are stored by name, the training's parameter groups do not matter, so use the callback if
the Trainer's own checkpoints cannot be read. Tensors sharded by FSDP2 are gathered.
"""

from __future__ import annotations

import logging
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from bids_core.errors import ConfigError
from bids_core.training.kept import Kept, write_kept
from bids_core.training.moments import AdamMoments
from bids_core.training.optimizer_files import adam_moments
from bids_core.training.optimizer_groups import plain_name
from bids_core.training.processes import is_first_process, whole

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

logger = logging.getLogger(__name__)


class WarmupCallback(TrainerCallback):
    """Saves adapter, moments and learning rates at the end of each epoch.

    Args:
        folder: where each `checkpoint-<step>` is written; a relative path is inside the training's
            output folder.
        every_steps: save every this many steps instead of at the end of each epoch.

    Raises:
        ConfigError: when training starts, if the optimizer has no Adam moments or the model no
            adapter.
    """

    def __init__(self, folder: str | Path = "warmup", *, every_steps: int | None = None) -> None:
        self._folder = Path(folder)
        self._every = every_steps
        self._rates: list[float] = []
        self._losses: list[float] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Refuse a training that cannot be saved, before any time is spent on it."""
        model = _unwrapped(kwargs["model"])
        if not hasattr(model, "peft_config"):
            msg = "WarmupCallback: the model has no adapter; train with LoRA (peft_config)"
            raise ConfigError(msg)
        self._rates, self._losses = [], []

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Record the learning rate that the step is about to use."""
        self._rates.append(float(kwargs["optimizer"].param_groups[0]["lr"]))

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Record the loss of a step."""
        loss = (kwargs.get("logs") or {}).get("loss")
        if isinstance(loss, int | float) and math.isfinite(loss):
            self._losses.append(float(loss))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save a checkpoint every `every_steps` steps, if set."""
        if self._every is not None and state.global_step % self._every == 0:
            self._keep(args, state, kwargs)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save the epoch's checkpoint."""
        if self._every is None:
            self._keep(args, state, kwargs)

    def _keep(self, args: TrainingArguments, state: TrainerState, parts: dict[str, Any]) -> None:
        if not self._rates:  # an epoch without a step
            return
        model = _unwrapped(parts["model"])
        adapter = str(getattr(model, "active_adapter", "default"))
        weights, moments = _gathered(model, parts["optimizer"], adapter)
        if is_first_process():
            target = Path(str(args.output_dir), self._folder) / f"checkpoint-{state.global_step}"
            shutil.rmtree(target, ignore_errors=True)  # left by an earlier training in this folder
            target.mkdir(parents=True)
            model.save_pretrained(
                str(target),
                safe_serialization=True,
                state_dict=weights,
                selected_adapters=[adapter],
            )
            inner = target / adapter  # peft's place for an adapter not named `default`
            if inner.is_dir():
                for file in inner.iterdir():
                    file.rename(target / file.name)
                inner.rmdir()
            moments.save(target)
            write_kept(
                target,
                Kept(
                    step=int(state.global_step),
                    epoch=float(state.epoch or 0.0),
                    learning_rate=sum(self._rates) / len(self._rates),
                    learning_rates=self._rates,
                    losses=self._losses if len(self._losses) == len(self._rates) else [],
                ),
            )
            logger.info("kept %s for BIDS", target)
        self._rates, self._losses = [], []


def _unwrapped(model: Any) -> Any:
    from accelerate.utils import extract_model_from_parallel  # type: ignore[import-untyped]

    return extract_model_from_parallel(model)


def _gathered(
    model: Any, optimizer: Any, adapter: str
) -> tuple[dict[str, torch.Tensor], AdamMoments]:
    """Return the trainable weights and their moments, gathered, by name."""
    weights: dict[str, torch.Tensor] = {}
    first: dict[str, torch.Tensor] = {}
    second: dict[str, torch.Tensor] = {}
    steps = 0
    state = optimizer.state  # accelerate's wrapper passes attributes through
    for raw, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        plain = plain_name(raw)
        weights[plain] = whole(parameter)
        name = plain.replace(f".{adapter}.", ".default.") if adapter != "default" else plain
        held = state.get(parameter, {})
        if held:
            try:
                both = adam_moments(held)
            except ValueError as error:
                msg = f"WarmupCallback: the optimizer {error}; train with optim: adamw_torch"
                raise ConfigError(msg) from error
        else:  # it never got a gradient
            zeros = torch.zeros_like(parameter, dtype=torch.float32)
            both = (zeros, zeros.clone())
        first[name], second[name] = (whole(moment).float() for moment in both)
        steps = max(steps, int(held.get("step", 0)))
    if steps == 0:  # DeepSpeed stores flat pieces of all parameters instead
        msg = (
            "WarmupCallback: the optimizer has no visible state for any trainable parameter "
            "(DeepSpeed partitions it); train without DeepSpeed, or with FSDP2"
        )
        raise ConfigError(msg)
    group = optimizer.param_groups[0]
    beta1, beta2 = list(group["betas"])[:2]
    betas = (float(beta1), float(beta2))
    return weights, AdamMoments(first, second, betas, float(group["eps"]), steps)
