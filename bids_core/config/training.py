"""The two training runs: the warmup, and the fine-tuning on the subset."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from bids_core.config.effects import Changes, Effect, InPlaceOf, NoEffect, Resolved
from bids_core.config.model import LoraConfig, ModelConfig
from bids_core.config.section import Fraction, PositiveInt, Seconds, Section, Seed


class OptimizerConfig(Section):
    """AdamW with a linear schedule."""

    epochs: PositiveInt = 4
    """Passes over the data."""
    learning_rate: float = Field(default=2e-5, gt=0.0)
    """Peak learning rate."""
    batch_size: PositiveInt = 128
    """Examples per optimizer step."""
    warmup_ratio: float = Field(default=0.03, ge=0.0, lt=1.0)
    """Fraction of the steps over which the learning rate warms up."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """Decoupled weight decay."""
    beta1: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Decay of Adam's first moment."""
    beta2: float = Field(default=0.999, ge=0.0, lt=1.0)
    """Decay of Adam's second moment."""
    eps: float = Field(default=1e-8, gt=0.0)
    """Adam's epsilon."""
    max_grad_norm: float | None = Field(default=1.0, gt=0.0)
    """Gradient clipping by global norm; null: no clipping."""
    tokens_per_batch: Annotated[
        PositiveInt, NoEffect("how a step is split into forward passes, not which rows it contains")
    ] = 4096
    """Padded tokens in one forward pass (micro-batch); limits memory."""


class WarmupConfig(OptimizerConfig):
    """The short LoRA training at whose checkpoints the gradients are computed."""

    effects: ClassVar[tuple[Effect, ...]] = (Changes("warmup"),)

    weight_decay: Annotated[float, Changes("warmup", "steps")] = Field(default=0.0, ge=0.0)
    """Decoupled weight decay."""
    fraction: Fraction = 1.0
    """Share of the pool to train on (BIDS 1.0, LESS 0.05)."""
    stop_after: Annotated[
        PositiveInt | None,
        Changes("warmup", when=lambda section: section.stops_early),
    ] = None
    """Stop after this many epochs of the schedule: the checkpoints are exactly the first ones of
    the full training, without the cost of the rest (docs/cheaper.md). null: all `epochs`."""
    checkpoints: Annotated[
        tuple[str, ...], Resolved("warmup", by="the digest of the checkpoints' files")
    ] = ()
    """Checkpoints of another training, to use instead of running a warmup: their folders, or the
    folder that contains them as `checkpoint-...` (from Trainer, TRL, LLaMA-Factory, axolotl or
    `WarmupCallback`). Adapters, learning rates and Adam's moments are read from the checkpoints;
    see docs/warmups.md."""
    checkpoint_rates: Annotated[
        tuple[float, ...], Changes("warmup", when=lambda section: bool(section.checkpoints))
    ] = ()
    """Mean learning rate of the epoch before each of `checkpoints`, in order of their steps; only
    needed for a training that logged none."""
    base_model: Annotated[
        str | None, NoEffect("only a name; the model is identified by its files")
    ] = None
    """Name of the base model in `checkpoints`, if they call the model at `model.path` by another
    name."""
    when_pool_changes: Annotated[
        Literal["renew", "reuse"], Resolved("warmup", by="the warmup used")
    ] = "renew"
    """`renew` trains again whenever the rows to train on change, so that a result follows from
    configuration and data alone. `reuse` keeps the warmup of an earlier pool from the store, so
    that only new rows' gradients are computed; the report gives the share of the pool it never
    saw."""
    renew_at: Annotated[Fraction, Resolved("warmup", by="the warmup used")] = 0.2
    """With `reuse`: train again once more than this share of the pool is newer than the warmup, or
    once more than this share of its training rows has left the pool."""

    @property
    def stops_early(self) -> bool:
        """Whether the training ends before its schedule does."""
        return self.stop_after is not None and self.stop_after < self.epochs

    @property
    def epochs_run(self) -> int:
        """Number of epochs trained, which is also the number of checkpoints."""
        return self.epochs if self.stop_after is None else self.stop_after

    @field_validator("checkpoints", mode="before")
    @classmethod
    def _one_folder_is_a_list_of_one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _what_is_said_of_checkpoints_needs_them(self) -> WarmupConfig:
        if not self.checkpoints:
            for name in ("checkpoint_rates", "base_model"):
                if getattr(self, name):
                    msg = (
                        f"{name} describes warmup.checkpoints, but there are none; add "
                        f"them, or remove {name}"
                    )
                    raise ValueError(msg)
        if self.checkpoints and self.stop_after is not None:
            msg = (
                "stop_after ends a warmup that runs here, but warmup.checkpoints comes from "
                "another training; choose among its checkpoints with gradients.checkpoints"
            )
            raise ValueError(msg)
        if self.stop_after is not None and self.stop_after > self.epochs:
            msg = f"stop_after: {self.stop_after} is more than the {self.epochs} epochs"
            raise ValueError(msg)
        if any(not rate >= 0 for rate in self.checkpoint_rates):
            msg = "checkpoint_rates: learning rates must not be negative"
            raise ValueError(msg)
        return self


class FinetuneConfig(OptimizerConfig):
    """Fine-tuning on the selected subset."""

    effects: ClassVar[tuple[Effect, ...]] = (Changes("finetune"),)

    epochs: PositiveInt = 2
    """Passes over the selected subset."""
    enabled: Annotated[bool, NoEffect("whether to fine-tune, not how")] = True
    """Set to false to stop after the selection."""
    kind: Literal["lora", "full"] = "lora"
    """Train adapters, or all weights."""
    model: Annotated[
        ModelConfig | None, InPlaceOf("model", "finetune", "suite", "evaluation", "losses")
    ] = None
    """Another model to train on the picks and evaluate (LESS-T), with its own tokenizer and chat
    template; null: the model whose gradients were computed."""
    lora: Annotated[LoraConfig | None, InPlaceOf("lora", "finetune")] = None
    """Adapters for fine-tuning; null: the same settings as the warmup's."""
    seed: Annotated[Seed | None, InPlaceOf("seed", "finetune")] = None
    """Seed for adapters, order and dropout; null: the run's."""
    packing: bool = False
    """Pack several examples into one row, without attention between them (needs attention `sdpa` or
    `eager`): less padding if lengths vary a lot."""
    save: Literal["adapter", "merged"] = "adapter"
    """Keep the adapter, or a whole model with the adapter merged in."""
    report_to: Annotated[
        tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...],
        NoEffect("where loss curves are shown"),
    ] = ()
    """Where else to send loss curves, through transformers' integrations."""
    checkpoint_seconds: Annotated[Seconds, NoEffect("a resumed training gives the same result")] = (
        600.0
    )
    """Interval between checkpoints, in seconds: a killed training resumes from one at most about
    this old."""
