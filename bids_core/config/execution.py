"""Where the work is done, and where its results go."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bids_core.config.effects import Changes, Effect, NoEffect
from bids_core.config.section import PositiveInt, Seconds, Section


class StageTimeouts(Section):
    """Longest time of each stage, in seconds; null: no limit. A stage that takes longer fails."""

    effects: ClassVar[tuple[Effect, ...]] = (NoEffect("when a stage is given up"),)

    prepare: Seconds | None = None
    """Reading and tokenizing."""
    warmup: Seconds | None = None
    """Warmup training."""
    gradients: Seconds | None = None
    """One shard of gradients."""
    attribution: Seconds | None = None
    """The attribution matrix."""
    selection: Seconds | None = None
    """The picks of one method."""
    finetune: Seconds | None = None
    """One fine-tuning."""
    evaluation: Seconds | None = None
    """The evaluation of one model."""


class ExecutionConfig(Section):
    """Where the work is done and when it is given up."""

    effects: ClassVar[tuple[Effect, ...]] = (NoEffect("where the work is done, not what it is"),)

    gradients: Literal["inline", "deployment"] = "inline"
    """Gradient shards: computed by this run itself, or handed to the workers of a deployment."""
    training: Literal["inline", "deployment"] = "inline"
    """Warmup, fine-tunes and evaluations: done by this run, or handed to workers side by side."""
    deployment: str = Field(default="gradient-shards/gpu", pattern=r"^[^/]+/[^/]+$")
    """Deployment (`flow/name`) that computes groups of gradient shards."""
    training_deployment: str = Field(default="gpu-stage/gpu", pattern=r"^[^/]+/[^/]+$")
    """Deployment (`flow/name`) that trains and evaluates."""
    group_seconds: Seconds = 300.0
    """Work that one flow run of a worker gets: shards are grouped up to about this long, by their
    measured speed. Starting a flow run costs about 10 s."""
    parallel: PositiveInt | None = None
    """Flow runs of workers in flight at once; null: the work pool's concurrency limit, or twice
    the workers that are online."""
    attempts: PositiveInt = 4
    """How often a group is handed out when its worker is lost, crashes or fails transiently."""
    poll_seconds: Seconds = 5.0
    """Seconds between polls of the workers' flow runs."""
    lost_after: Seconds = 120.0
    """A worker that gives no sign of life for this long is lost: its work is handed out again."""
    processes: Annotated[PositiveInt, Changes("warmup", "finetune")] = 1
    """Processes that the warmup and each fine-tuning train in, on the machine that runs them, one a
    GPU. Several processes share out each step's rows, and some rows are seen twice in an epoch
    where these do not divide evenly; so their number is part of what a training is known by."""
    sharding: Annotated[
        Literal["none", "fsdp"],
        Changes("warmup", "finetune", when=lambda execution: execution.processes > 1),
    ] = "none"
    """With several processes: each holds the model, or it is sharded over them (FSDP)."""
    timeouts: StageTimeouts = StageTimeouts()
    """Longest time of each stage."""
    report_url: str | None = None
    """Address under which the folder `output_dir` is served (`https://files.example/runs`), for
    links to reports in the Prefect UI; null: the link is the file's own."""


class OutputConfig(Section):
    """Where the selected data goes besides the run folder."""

    effects: ClassVar[tuple[Effect, ...]] = (NoEffect("where copies go"),)

    push_to_hub: str | None = Field(default=None, pattern=r"^[\w.-]+/[\w.-]+$")
    """Data set on the Hugging Face hub (`org/name`) that gets the main method's picks and their
    card; log in first (`hf auth login`, or HF_TOKEN)."""
    private: bool = True
    """Whether that data set is private."""
    wandb_project: str | None = None
    """Project on Weights & Biases that gets the picks of all methods as an artifact."""
    mlflow_experiment: str | None = None
    """MLflow experiment that gets the picks of all methods (MLFLOW_TRACKING_URI says where)."""
