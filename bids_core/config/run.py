"""A whole run: all sections."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from bids_core.config.data import DataConfig, SourceConfig, TestTask, ValidationTask
from bids_core.config.effects import Changes, NoEffect
from bids_core.config.evaluation import EvaluationConfig
from bids_core.config.execution import ExecutionConfig, OutputConfig
from bids_core.config.gradients import GradientConfig
from bids_core.config.model import LoraConfig, ModelConfig
from bids_core.config.screen import LANDMARKS, LandmarkConfig, ScreenConfig
from bids_core.config.section import Name, Section, Seed
from bids_core.config.selection import AnalysisConfig, SelectionConfig
from bids_core.config.training import FinetuneConfig, WarmupConfig


class RunConfig(Section):
    """A complete run: data, model, method and where the results go.

    Fields are in the order of the Prefect UI's form: required ones come first.
    """

    name: Annotated[Name, NoEffect("a label")] = "run"
    """Name of the run; its folder is `<output_dir>/<name>`."""
    model: ModelConfig
    """Base model."""
    pool: tuple[SourceConfig, ...] = Field(min_length=1)
    """The training pool: sources of the examples to choose from."""
    validation: tuple[ValidationTask, ...] = Field(min_length=1)
    """Validation instances: a few examples of everything the model should be good at."""
    test: tuple[TestTask, ...] = ()
    """Held-out test rows for evaluation."""
    selection: SelectionConfig = SelectionConfig()
    """Which rows to keep."""
    output_dir: Annotated[Path, NoEffect("a place")] = Path("runs")
    """Where run folders go."""
    store: Annotated[str, NoEffect("a place")] = ".bids"
    """Artifact store: a folder or an fsspec URL (`s3://bucket/prefix`)."""
    seed: Annotated[
        Seed,
        Changes("warmup", "screen", "curvature", "gradients", "selection", "finetune", "steps"),
        Changes("evaluation", when=lambda run: run.draws_answers),
    ] = 0
    """Seed for sampling, initialisation, dropout, projection, random selection and generated
    answers."""
    data: DataConfig = DataConfig()
    """Tokenization, rejects and overlap."""
    lora: LoraConfig = LoraConfig()
    """Adapters: the parameters whose gradients are computed."""
    warmup: WarmupConfig = WarmupConfig()
    """Warmup: the short training whose checkpoints the gradients are computed at."""
    gradients: GradientConfig = GradientConfig()
    """Gradient features."""
    screen: ScreenConfig = ScreenConfig()
    """Which rows get gradients, if not all do."""
    landmarks: LandmarkConfig = LandmarkConfig()
    """Rows from which the influence of the others is inferred."""
    analysis: AnalysisConfig = AnalysisConfig()
    """Analysis of the selections."""
    finetune: FinetuneConfig = FinetuneConfig()
    """Fine-tuning on the subset."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluation."""
    output: OutputConfig = OutputConfig()
    """Where else the selected data goes, besides the run folder."""
    execution: ExecutionConfig = ExecutionConfig()
    """Where the work is done; inline on this machine, or spread over a pool of workers."""

    @model_validator(mode="after")
    def _quantised_weights_are_neither_trained_nor_merged(self) -> RunConfig:
        model = self.finetune.model or self.model
        if model.quantization != "none":
            if self.finetune.kind == "full":
                msg = "finetune.kind: full trains all weights, but quantised ones cannot be trained"
                raise ValueError(msg)
            if self.finetune.save == "merged":
                msg = "finetune.save: merged needs weights that are not quantised; save the adapter"
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _screen_and_landmarks_fit(self) -> RunConfig:
        if self.screen.by == LANDMARKS and self.landmarks.rows is None:
            msg = "screen.by: landmarks needs landmarks.rows, the number of rows to infer from"
            raise ValueError(msg)
        if self.landmarks.rows is not None and self.screen.by not in (None, LANDMARKS):
            msg = (
                "landmarks.rows works alone or with screen.by: landmarks, not with "
                f"screen.by: {self.screen.by}; leave one of them out"
            )
            raise ValueError(msg)
        if self.landmarks.rows is not None and self.gradients.metric == "dot":
            msg = (
                "landmarks.rows infers cosines, and gradients.metric: dot also depends on each "
                "row's length; use cosine"
            )
            raise ValueError(msg)
        return self

    @property
    def draws_answers(self) -> bool:
        """Whether answers to the user's own test rows are sampled rather than greedy."""
        settings = [task.generation or self.evaluation.generation for task in self.test]
        return any(one.draws for one in settings)

    @property
    def has_evaluation(self) -> bool:
        """Whether there is anything to evaluate models on."""
        return bool(self.test or self.evaluation.suites)

    @model_validator(mode="after")
    def _capability_of_a_task_is_one(self) -> RunConfig:
        seen: dict[str, str] = {}
        pairs = [(entry.task, entry.capability) for entry in self.validation]
        pairs += [(entry.task, entry.capability) for entry in self.test]
        for task, capability in pairs:
            known = seen.setdefault(task, capability)
            if known != capability:
                msg = f"task {task!r} has two capabilities, {known!r} and {capability!r}"
                raise ValueError(msg)
        return self
