"""Stage `evaluation`: held-out scores of one model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, cast

import pandas as pd

from bids_core.artifacts import ArtifactStore, Draft, Handle, Identity
from bids_core.config import RunConfig, TestTask
from bids_core.data import read_table
from bids_core.evaluation import Evaluation, evaluate, macro_average
from bids_core.evaluation.metrics import METRICS
from bids_core.evaluation.scorers import load_scorer
from bids_core.models.load import load_base, load_tokenizer
from bids_core.training.finetune import load_tuned
from tasks.evaluation_checks import code_limits
from tasks.identity import model_identity, tokenizer_digest, training_config
from tasks.prepare import load_prepared
from tasks.runtime.stage import stage_task
from tasks.suites import identify_part, load_suites, read_part, suite_members, write_part

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bids_core.evaluation.suites.loading import LoadedTask
    from bids_core.progress import Progress

VERSION: Final = 3
SCORES: Final = "scores.parquet"
SAMPLES: Final = "samples.parquet"


def identify(config: RunConfig, data: Handle, tuned: Handle | None, method: str) -> Identity:  # noqa: ARG001 - a label
    """Return the identity of a model's scores: the model, the test rows, how they are judged.

    Args:
        config: the run.
        data: tokenized for the model that is evaluated (`finetune.model`, or the run's).
        tuned: the fine-tuned model; None: the base model.
        method: display name of the method that selected its rows.
    """
    config = training_config(config)
    suites = load_suites(config, load_prepared(data))
    parts = {name: identify_part(config, tuned, task) for name, task in suites.items()}
    return Identity(
        "evaluation",
        VERSION,
        config=model_identity(config, "evaluation")
        | {
            "tokenizer": tokenizer_digest(config),
            "judges": [_judge_identity(task) for task in config.test],
        },
        inputs={
            "finetune": tuned.fingerprint if tuned else None,
            "test": data.summary()["digests"]["test"],
            "suites": {name: part.fingerprint for name, part in parts.items()},
        },
        uses=(
            data.key,
            *((tuned.key,) if tuned else ()),
            *(part.key for part in parts.values()),
        ),
    )


def compute(
    config: RunConfig,
    data: Handle,
    tuned: Handle | None,
    method: str,  # noqa: ARG001 - a label
    *,
    draft: Draft,
    progress: Progress,
) -> None:
    """Evaluate a fine-tuned model, or the base model if `tuned` is None."""
    config = training_config(config)
    prepared = load_prepared(data)
    model = _Model(config, tuned)
    parts = []
    if config.test:
        parts.append(
            evaluate(
                model.weights,
                model.tokenizer,
                prepared.test,
                config.test,
                tokens_per_batch=config.evaluation.tokens_per_batch,
                code_limits=code_limits(config),
                generation=config.evaluation.generation,
                seed=config.seed,
                thought_markers=config.evaluation.thought_markers,
                on_progress=progress,
            )
        )
    earlier = 0.0
    for task in load_suites(config, prepared).values():
        part, seconds = _suite_task(model, task, progress)
        parts.append(part)
        earlier += seconds
    result = Evaluation(
        pd.concat([part.scores for part in parts], ignore_index=True),
        pd.concat([part.samples for part in parts], ignore_index=True),
    )
    result.scores.to_parquet(draft.path / SCORES, index=False)
    result.samples.to_parquet(draft.path / SAMPLES, index=False)
    draft.summary |= _averages(result.scores, config)
    draft.summary["earlier_seconds"] = earlier


run_evaluation = stage_task(
    "evaluation",
    identify,
    compute,
    label="evaluation {method}",
    task_run_name="evaluation {method}",
)


@dataclass
class _Model:
    """The evaluated model, loaded when it is first needed."""

    config: RunConfig
    tuned: Handle | None

    @cached_property
    def weights(self) -> PreTrainedModel | PeftModel:
        if self.tuned is None:
            return load_base(self.config.model)
        return load_tuned(self.config.model, self.tuned.path())

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return load_tokenizer(self.config.model, self.config.data.template_args)

    @cached_property
    def vllm(self) -> Any:
        from bids_core.evaluation.suites.vllm import vllm_model

        folder = self.tuned.path() if self.tuned else None
        arguments = self.config.data.template_args
        model_args: dict[str, Any] = {**self.config.evaluation.model_args}
        if arguments:  # vLLM loads its own tokenizer
            model_args = {"chat_template_args": arguments, **model_args}
        return vllm_model(self.config.model, folder, model_args)


def _suite_task(model: _Model, loaded: LoadedTask, progress: Progress) -> tuple[Evaluation, float]:
    """Return the scores of one task of a suite, and the seconds they took if computed earlier.

    Each task is its own artifact: a suite takes hours on a large model, and a killed one resumes
    with the next task.
    """
    from bids_core.evaluation.scores import evaluation_mode, stop_ids
    from bids_core.evaluation.suites.model import SuiteModel
    from bids_core.evaluation.suites.scores import evaluate_suite_task

    settings = model.config.evaluation

    def score() -> Evaluation:
        if settings.backend == "vllm":
            return evaluate_suite_task(model.vllm, loaded, chat=settings.chat_prompts)
        causal = cast("PreTrainedModel", model.weights)
        with evaluation_mode(causal, model.tokenizer):
            runner = SuiteModel(
                causal,
                model.tokenizer,
                stop_ids=stop_ids(causal, model.tokenizer),
                tokens_per_batch=settings.tokens_per_batch,
                on_progress=progress,
                **settings.model_args,
            )
            return evaluate_suite_task(runner, loaded, chat=settings.chat_prompts)

    store = ArtifactStore(model.config.store)
    identity = identify_part(model.config, model.tuned, loaded)
    found = store.get_or_compute(identity, lambda draft: write_part(score(), draft))
    earlier = 0.0 if found.computed else float(found.handle.record()["seconds"])
    return read_part(found.handle), earlier


def _judge_identity(task: TestTask) -> dict[str, Any]:
    """Return the identity of what judges a task's answers, besides its settings."""
    identity: dict[str, Any] = {}
    if task.scorer is not None:
        identity["scorer"] = load_scorer(task).digest
    return identity | METRICS[task.metric].identity()


def _averages(scores: pd.DataFrame, config: RunConfig) -> dict[str, Any]:
    """Return the macro averages for the record; None if no task has a score."""
    averages = {
        name: value if math.isfinite(value) else None
        for name, value in macro_average(scores).items()
    }
    if not config.evaluation.suites:
        return {"macro_average": averages}
    from bids_core.evaluation.suites.scores import suite_averages

    return {"macro_average": averages, "suites": suite_averages(scores, suite_members(config))}


def read_scores(evaluations: dict[str, Handle]) -> pd.DataFrame:
    """Return the scores of all methods in one table, with a column `method` first."""
    parts = [
        read_table(handle.path() / SCORES).assign(method=method)
        for method, handle in evaluations.items()
    ]
    scores = pd.concat(parts, ignore_index=True)
    return scores[["method", *[name for name in scores.columns if name != "method"]]]
