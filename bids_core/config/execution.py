"""Where the work is done, and where its results go."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bids_core.config.effects import Changes, Effect, NoEffect
from bids_core.config.section import PositiveInt, Seconds, Section


class StageTimeouts(Section):
    """Time limit of each stage, in seconds; null: no limit. A stage that exceeds it fails."""

    effects: ClassVar[tuple[Effect, ...]] = (NoEffect("when a stage is aborted"),)

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
    """Where the work is done, and when it is aborted."""

    effects: ClassVar[tuple[Effect, ...]] = (NoEffect("where the work is done, not the result"),)

    gradients: Literal["inline", "deployment"] = "inline"
    """Gradient shards: computed by this run, or by the workers of a deployment."""
    training: Literal["inline", "deployment"] = "inline"
    """Warmup, fine-tuning and evaluation: done by this run, or by workers in parallel."""
    deployment: str = Field(default="gradient-shards/gpu", pattern=r"^[^/]+/[^/]+$")
    """Deployment (`flow/name`) that computes groups of gradient shards."""
    training_deployment: str = Field(default="gpu-stage/gpu", pattern=r"^[^/]+/[^/]+$")
    """Deployment (`flow/name`) that trains and evaluates."""
    group_seconds: Seconds = 300.0
    """Target duration of one flow run, in seconds: shards are grouped to take about this long, at
    their measured speed. Starting a flow run costs about 10 s."""
    parallel: PositiveInt | None = None
    """Flow runs in flight at once; null: twice the work pool's concurrency limit, or twice the
    online workers."""
    attempts: PositiveInt = 4
    """Maximum number of attempts at a group whose worker is lost, crashes or fails with a transient
    error."""
    poll_seconds: Seconds = 5.0
    """Seconds between polls of the workers' flow runs."""
    lost_after: Seconds = 120.0
    """A worker that has sent no heartbeat for this many seconds counts as lost, and its work is
    reassigned."""
    processes: Annotated[PositiveInt, Changes("warmup", "finetune")] = 1
    """Processes for the warmup and for each fine-tuning, on the machine that runs it, one per GPU.
    Several processes split each step's rows; if these do not divide evenly, some rows are seen
    twice in an epoch, so this number is part of a training's identity."""
    sharding: Annotated[
        Literal["none", "fsdp"],
        Changes("warmup", "finetune", when=lambda execution: execution.processes > 1),
    ] = "none"
    """With several processes: replicate the model in each, or shard it across them (FSDP)."""
    timeouts: StageTimeouts = StageTimeouts()
    """Time limit of each stage, in seconds."""
    report_url: str | None = None
    """URL at which the folder `output_dir` is served (`https://files.example/runs`), for links to
    reports in the Prefect UI; null: links to the file."""


class OutputConfig(Section):
    """Where else the selected data goes, besides the run folder."""

    effects: ClassVar[tuple[Effect, ...]] = (NoEffect("where copies go"),)

    push_to_hub: str | None = Field(default=None, pattern=r"^[\w.-]+/[\w.-]+$")
    """Dataset on the Hugging Face hub (`org/name`) to upload the main method's picks to, with a
    dataset card; log in first (`hf auth login`, or HF_TOKEN)."""
    private: bool = True
    """Whether that dataset is private."""
    wandb_project: str | None = None
    """Weights & Biases project to log the picks of all methods to, as an artifact."""
    mlflow_experiment: str | None = None
    """MLflow experiment to log the picks of all methods to (its server: MLFLOW_TRACKING_URI)."""
