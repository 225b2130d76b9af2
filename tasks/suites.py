"""The benchmark suites of a run: loaded once per process; each task of a model is an artifact."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import pandas as pd

from bids_core.artifacts import Identity
from bids_core.config import EvaluationConfig
from bids_core.data import read_table
from bids_core.evaluation.scores import Evaluation
from bids_core.evaluation.suites.tasks import SUITES, chosen_tasks
from tasks.identity import model_identity, tokenizer_digest

if TYPE_CHECKING:
    from bids_core.artifacts import Draft, Handle
    from bids_core.config import RunConfig
    from bids_core.data import PreparedData
    from bids_core.evaluation.suites.loading import LoadedTask

VERSION: Final = 2
STAGE: Final = "suite"
_FILES: Final = ("scores.parquet", "samples.parquet")


class _ById:
    """Validation rows as a cache key: the frame is hashed by object identity."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def __hash__(self) -> int:
        return id(self.frame)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and other.frame is self.frame


def load_suites(config: RunConfig, data: PreparedData) -> dict[str, LoadedTask]:
    """Load the tasks of the configured suites, without validation instances.

    Args:
        config: the run.
        data: whose validation rows are left out of the suites.

    Raises:
        ConfigError: the choice of tasks is invalid, or a package is missing.
        DataError: a data set cannot be loaded.
        SandboxError: a task runs code, and the sandbox cannot be built here.
    """
    if not config.evaluation.suites:
        return {}
    tasks = chosen_tasks(config.evaluation, config.test)  # config errors before any loading
    names = tuple(task.name for task in tasks)
    return _load(config.evaluation.model_dump_json(), names, _ById(data.validation.frame))


@lru_cache(maxsize=2)
def _load(settings_json: str, names: tuple[str, ...], validation: _ById) -> dict[str, LoadedTask]:
    from bids_core.evaluation.suites.leakage import ValidationTexts
    from bids_core.evaluation.suites.loading import load_suite_task

    settings = EvaluationConfig.model_validate_json(settings_json)
    texts = ValidationTexts.of(validation.frame)
    known = {task.name: task for suite in settings.suites for task in SUITES[suite]}
    return {name: load_suite_task(known[name], settings, texts) for name in names}


def identify_part(config: RunConfig, tuned: Handle | None, loaded: LoadedTask) -> Identity:
    """Return the identity of the scores of one task of a suite.

    Args:
        config: the run, with the model that is evaluated (`training_config`).
        tuned: the fine-tuned model; None: the base model.
        loaded: the task.
    """
    return Identity(
        STAGE,
        VERSION,
        config=model_identity(config, STAGE)
        | {"task": loaded.suite_task.name, "tokenizer": tokenizer_digest(config)},
        inputs={"finetune": tuned.fingerprint if tuned else None, "suite_task": loaded.digest},
        uses=(tuned.key,) if tuned else (),
    )


def suite_members(config: RunConfig) -> dict[str, list[str]]:
    """Return the tasks of each configured suite."""
    return {suite: [task.name for task in SUITES[suite]] for suite in config.evaluation.suites}


def write_part(result: Evaluation, draft: Draft) -> None:
    """Write one task's scores and samples."""
    for name, frame in zip(_FILES, (result.scores, result.samples), strict=True):
        frame.to_parquet(draft.path / name, index=False)


def read_part(handle: Handle) -> Evaluation:
    """Return one task's scores and samples."""
    return Evaluation(*(read_table(handle.path() / name) for name in _FILES))
