"""Stage `warmup`: LoRA checkpoints with Adam moments, trained here or taken from elsewhere."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bids_core.artifacts import Draft, Handle, Identity
from bids_core.config import RunConfig
from bids_core.errors import ConfigError
from bids_core.models.adapters import add_lora
from bids_core.models.load import load_base, load_tokenizer
from bids_core.training.external import checkpoint_digests, import_warmup
from bids_core.training.launch import warmup_in_processes
from bids_core.training.warmup import warmup
from tasks.external_warmup import needs_moments
from tasks.identity import model_identity
from tasks.kept_warmup import sampled_rows, write_keys
from tasks.prepare import load_prepared, rows_digest
from tasks.runtime.stage import stage_task

if TYPE_CHECKING:
    from bids_core.progress import Progress

VERSION: Final = 2


def identify(config: RunConfig, data: Handle) -> Identity:
    """Return the identity of a warmup: the pool's tokens, the model, the training settings.

    A warmup run elsewhere is identified by its files alone.
    """
    if config.warmup.checkpoints:
        return _identify_external(config)
    inputs = {"train": data.summary()["digests"]["train"]}
    if config.warmup.fraction < 1.0:  # rows that are not trained on are not part of it
        frame = load_prepared(data).train.frame.iloc[sampled_rows(config, data)]
        inputs = {"sample": rows_digest(frame)}
    return Identity(
        "warmup",
        VERSION,
        config=model_identity(config, "warmup"),
        inputs=inputs,
        seed=config.seed,
        uses=(data.key,),
    )


def compute(config: RunConfig, data: Handle, *, draft: Draft, progress: Progress) -> None:
    """Train adapters on the pool (or a share), with a checkpoint each epoch; or import them."""
    if config.warmup.checkpoints:
        draft.summary |= import_warmup(
            config.model, config.warmup, needs_moments=needs_moments(config), folder=draft.path
        )
        return
    with tempfile.TemporaryDirectory() as scratch:
        train = _train_together if config.execution.processes > 1 else _train
        draft.summary |= train(config, data, draft.path, Path(scratch), progress)
    write_keys(draft.path, config, data)


def n_checkpoints(warm: Handle) -> int:
    """Return how many checkpoints a warmup saved."""
    return len(warm.summary()["checkpoint_weights"])


def used_checkpoints(config: RunConfig, warm: Handle) -> list[int]:
    """Return the numbers, from 1, of the checkpoints at which gradients are computed, in order.

    Raises:
        ConfigError: the warmup has no such checkpoint.
    """
    there, wanted = n_checkpoints(warm), config.gradients.checkpoints
    if wanted is None:
        return list(range(1, there + 1))
    beyond = [number for number in wanted if number > there]
    if beyond:
        msg = (
            f"gradients.checkpoints: the warmup has {there} "
            f"{'checkpoint' if there == 1 else 'checkpoints'}, so checkpoint {beyond[0]} does "
            "not exist"
        )
        raise ConfigError(msg)
    return list(wanted)


run_warmup = stage_task("warmup", identify, compute)


def _identify_external(config: RunConfig) -> Identity:
    values = model_identity(config, "warmup")
    kept: dict[str, Any] = {
        name: values[name] for name in ("model", "model_files", "dtype") if name in values
    }
    if rates := values.get("warmup", {}).get("checkpoint_rates"):
        kept["checkpoint_rates"] = rates
    digests = checkpoint_digests(config.warmup.checkpoints)
    return Identity("warmup", VERSION, config=kept, inputs={"checkpoints": digests})


def _train(
    config: RunConfig, data: Handle, folder: Path, scratch: Path, progress: Progress
) -> dict[str, Any]:
    tokenizer = load_tokenizer(config.model)
    return warmup(
        add_lora(load_base(config.model), config.lora, seed=config.seed),
        load_prepared(data).train.examples(),
        config.warmup,
        pad_token_id=tokenizer.pad_token_id,
        seed=config.seed,
        folder=folder,
        scratch=scratch,
        on_progress=progress,
    )


def _train_together(
    config: RunConfig, data: Handle, folder: Path, scratch: Path, progress: Progress
) -> dict[str, Any]:
    return warmup_in_processes(
        config.model,
        config.lora,
        config.warmup,
        data=data.path(),
        seed=config.seed,
        folder=folder,
        scratch=scratch,
        processes=config.execution.processes,
        sharding=config.execution.sharding,
        on_progress=progress,
    )
