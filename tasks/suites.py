"""The benchmark suites of a run: loaded once a process; each task of one model is an artifact."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from bids_core.config import EvaluationConfig
from bids_core.evaluation.scores import Evaluation
from bids_core.evaluation.suites.tasks import SUITES, chosen_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bids_core.artifacts import ArtifactStore
    from bids_core.config import RunConfig
    from bids_core.data import PreparedData
    from bids_core.evaluation.suites.loading import LoadedTask

VERSION: Final = 1
STAGE: Final = "suite"
_FILES: Final = ("scores.parquet", "samples.parquet")


class _ById:
    """Validation rows as a cache key: the frame is hashed by its identity."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def __hash__(self) -> int:
        return id(self.frame)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and other.frame is self.frame


def load_suites(config: RunConfig, data: PreparedData) -> dict[str, LoadedTask]:
    """Load the tasks of the suites that a configuration asks for, without validation instances.

    Args:
        config: the run.
        data: whose validation rows are left out of the suites.

    Raises:
        ConfigError: the choice of tasks does not work, or a package is missing.
        DataError: a data set can not be had.
        SandboxError: a task runs code, and the sandbox can not be built here.
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


def suite_identity(config: RunConfig, loaded: Mapping[str, LoadedTask]) -> dict[str, Any]:
    """Return what identifies the suites' scores, besides the model; nothing without suites."""
    if not loaded:
        return {}
    settings = config.evaluation
    return {
        "suites": {name: task.digest for name, task in loaded.items()},
        "chat": settings.chat_prompts,
        "backend": settings.backend,
        "model_args": settings.model_args,
    }


def suite_members(config: RunConfig) -> dict[str, list[str]]:
    """Return the tasks of each suite that a configuration asks for."""
    return {suite: [task.name for task in SUITES[suite]] for suite in config.evaluation.suites}


def cached_part(
    store: ArtifactStore,
    fingerprint: str,
    *,
    config: Mapping[str, Any],
    inputs: Mapping[str, Any],
    compute: Callable[[], Evaluation],
) -> tuple[Evaluation, float]:
    """Return one task's scores of one model, from the store if it has them.

    A suite takes hours on a large model; what is killed half-way goes on with the next task.

    Returns:
        The scores, and the seconds that they took earlier: 0 if they were computed now.
    """
    found = store.find(STAGE, fingerprint)
    if found is not None:
        tables = (pd.read_parquet(found.path() / name) for name in _FILES)
        return Evaluation(*tables), float(found.record()["seconds"])
    with store.create(STAGE, fingerprint, version=VERSION, config=config, inputs=inputs) as draft:
        result = compute()
        for name, frame in zip(_FILES, (result.scores, result.samples), strict=True):
            frame.to_parquet(draft.path / name, index=False)
    return result, 0.0
