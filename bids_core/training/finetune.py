"""Fine-tuning on a selected subset: adapters or all weights, saved as adapter or whole model."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from transformers import TrainerCallback

from bids_core.errors import ConfigError
from bids_core.models.adapters import add_lora
from bids_core.models.load import choose_device, choose_dtype, load_adapter, load_base
from bids_core.progress import silent
from bids_core.training.packing import require_packable
from bids_core.training.processes import is_first_process, whole
from bids_core.training.reporters import require_reporters
from bids_core.training.trainer import train

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peft import PeftModel
    from transformers import PreTrainedModel, TrainerControl, TrainerState, TrainingArguments

    from bids_core.config import FinetuneConfig, LoraConfig, ModelConfig
    from bids_core.progress import Progress
    from bids_core.records import TokenizedExample

ADAPTER: Final = "adapter"
"""Folder of an artifact that holds an adapter."""
WHOLE: Final = "model"
"""Folder of an artifact that holds a whole model."""


def trainable_model(
    config: ModelConfig, lora: LoraConfig, settings: FinetuneConfig, *, seed: int
) -> tuple[PeftModel | PreTrainedModel, torch.dtype | None]:
    """Load a model to be trained.

    Returns:
        The base model with fresh adapters, and None; or, with `kind: full`, the model with all
        weights in float32 (updates are too small for half precision), and the dtype to compute in.

    Raises:
        ModelError: it cannot be loaded, or no layer has one of the target names.
    """
    if settings.kind == "lora":
        return add_lora(load_base(config), lora, seed=seed), None
    dtype = choose_dtype(config.dtype, choose_device(config.device))
    model = load_base(config.model_copy(update={"dtype": "float32"}))
    model.requires_grad_(requires_grad=True)
    torch.manual_seed(seed)
    return model, None if dtype == torch.float32 else dtype


def finetune(
    model: PeftModel | PreTrainedModel,
    examples: Sequence[TokenizedExample],
    settings: FinetuneConfig,
    *,
    pad_token_id: int,
    seed: int,
    folder: Path,
    scratch: Path,
    sharded: bool = False,
    autocast: torch.dtype | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    run_name: str | None = None,
    on_progress: Progress = silent,
) -> dict[str, Any]:
    """Train on the selected examples and save the result.

    Args:
        model: from `trainable_model`; trained in place.
        examples: the selected subset.
        settings: epochs, learning rate and so on.
        pad_token_id: token that fills short rows.
        seed: of the order and dropout.
        folder: where `adapter/` or `model/` is written (safetensors).
        scratch: for checkpoints; a killed training continues from those it left there.
        sharded: shard the model over the processes that train together (FSDP); such a training
            leaves no checkpoints, and starts over.
        autocast: dtype to compute and save in, if the weights are float32.
        callbacks: further callbacks of the Trainer.
        run_name: name of the loss curves.
        on_progress: called with (examples seen, examples in all epochs).

    Returns:
        Summary: losses, learning rates and epochs of the steps, tokens, seconds, rows.

    Raises:
        ModelError: packing is requested, but the model cannot keep examples apart.
        ConfigError: adapters are to be merged into sharded weights.
    """
    if sharded and settings.kind == "lora" and settings.save == "merged":
        msg = "finetune.save: merged is not possible with execution.sharding: fsdp; use adapter"
        raise ConfigError(msg)
    if settings.packing:
        require_packable(model, examples)
    log = train(
        model,
        examples,
        settings,
        pad_token_id=pad_token_id,
        seed=seed,
        scratch=scratch,
        sharded=sharded,
        packing=settings.packing,
        autocast=autocast,
        checkpoint_seconds=None if sharded else settings.checkpoint_seconds,
        callbacks=callbacks,
        run_name=run_name,
        on_progress=on_progress,
    )
    _save(model, folder, settings, autocast, sharded=sharded)
    return {**asdict(log), "n_rows": len(examples)}


def _save(
    model: Any,
    folder: Path,
    settings: FinetuneConfig,
    dtype: torch.dtype | None,
    *,
    sharded: bool,
) -> None:
    """Save what was trained; every process calls this, and the first one writes."""
    adapter = settings.kind == "lora" and settings.save == "adapter"
    weights = None
    if sharded:
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        weights = {name: whole(p).to(dtype or p.dtype) for name, p in trained}
    if not is_first_process():
        return
    if settings.kind == "lora" and not adapter:
        model = model.merge_and_unload()
    if dtype is not None and not sharded:
        model = model.to(dtype)
    target = folder / (ADAPTER if adapter else WHOLE)
    model.save_pretrained(str(target), safe_serialization=True, state_dict=weights)


def load_tuned(config: ModelConfig, folder: Path) -> PeftModel | PreTrainedModel:
    """Load what fine-tuning saved in `folder`, for evaluation.

    Args:
        config: the base model.
        folder: with `adapter/` or `model/`.
    """
    if (folder / ADAPTER).is_dir():
        return load_adapter(config, folder / ADAPTER, trainable=False)
    changes = {"path": str(folder / WHOLE), "revision": None, "quantization": "none"}
    return load_base(config.model_copy(update=changes))


def saved_in(folder: Path) -> Path:
    """Return the folder within an artifact that holds the model or adapter."""
    return folder / ADAPTER if (folder / ADAPTER).is_dir() else folder / WHOLE


def loss_curves(names: Sequence[str], *, folder: Path) -> list[TrainerCallback]:
    """Return transformers' callbacks that report loss curves.

    Args:
        names: of the packages.
        folder: for TensorBoard's files; the others are configured in the environment
            (WANDB_PROJECT, MLFLOW_TRACKING_URI, TRACKIO_PROJECT).

    Raises:
        ConfigError: a package is not installed.
    """
    from transformers.integrations.integration_utils import (
        TensorBoardCallback,
        get_reporting_integration_callbacks,
    )

    require_reporters(names)
    found: list[TrainerCallback] = []
    for name in names:
        if name == "tensorboard":
            from torch.utils.tensorboard import SummaryWriter

            writer = SummaryWriter(log_dir=str(folder))
            found.append(TensorBoardCallback(tb_writer=writer))  # type: ignore[no-untyped-call]
        else:
            (kind,) = get_reporting_integration_callbacks([name])  # type: ignore[no-untyped-call]
            found.append(kind())
        if name == "wandb":
            found.append(_EndOfWandbRun())
    return found


def file_name(label: str) -> str:
    """Return a label in the form of a file or folder name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip("-")


class _EndOfWandbRun(TrainerCallback):
    """Ends the W&B run with the training, so that the next method's curves get their own run."""

    def on_train_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 - the Trainer decides on the signature
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """End the run."""
        import wandb

        wandb.finish()
