"""Loads the suites' lm-eval tasks with their data, from a local folder, the hub's cache or the hub.

This module imports lm-eval (3.4 s); import it where it is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import datasets
import lm_eval.tasks
from datasets.exceptions import DatasetsError
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from lm_eval.tasks import TaskManager
from lm_eval.tasks._factory import TaskFactory

from bids_core.data.rejects import shorten
from bids_core.errors import ConfigError, DataError
from bids_core.evaluation.code_eval import sandboxed
from bids_core.evaluation.ifeval import checkers
from bids_core.evaluation.suites.leakage import kept_rows
from bids_core.evaluation.suites.tasks import VERSION
from bids_core.sandbox import Limits, require_sandbox
from bids_core.sandbox.solutions import extract_code

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bids_core.config import EvaluationConfig
    from bids_core.evaluation.suites.leakage import ValidationTexts
    from bids_core.evaluation.suites.tasks import SuiteTask

_NOT_LOADED: Final = (
    OSError, ValueError, KeyError, ImportError, DatasetsError, HfHubHTTPError, OfflineModeIsEnabled,
)  # fmt: skip

_FOLDERS: Final = (
    "bbh/cot_fewshot", "gsm_plus", "humaneval", "ifeval", "mbpp", "minerva_math", "mmlu/default",
    "tydiqa",
)  # fmt: skip


def first_blocks(answers: list[list[str]], _: object = None, /, **__: object) -> list[list[str]]:
    """Return the code up to the end of the block that the prompt opened.

    Replaces lm-eval's own filter for `mbpp_instruct`, which takes the first word after the fence
    (often `def`) for a language name and removes it.
    """
    return [[extract_code(f"```python\n{answer}") for answer in group] for group in answers]


_FIRST_BLOCK: Final = {
    "name": "extract_code",
    "filter": [{"function": "custom", "filter_fn": first_blocks}],
}


@dataclass(frozen=True)
class LoadedTask:
    """One task of a suite, loaded.

    Args:
        suite_task: its definition.
        metric: lm-eval's `metric,filter` used as its score.
        tasks: lm-eval's tasks, by name.
        kept: rows of each that are evaluated.
        excluded: number of rows of each that are validation instances.
    """

    suite_task: SuiteTask
    metric: str
    tasks: dict[str, Any]
    kept: dict[str, list[int]]
    excluded: dict[str, int]

    @cached_property
    def digest(self) -> str:
        """Digest of what is asked and how: row contents, task definitions, versions."""
        digest = hashlib.sha256(f"{VERSION} {version('lm-eval')} {self.metric}".encode())
        for name, task in self.tasks.items():
            settings = {**task.dump_config(), "metadata": None, "dataset_path": None}
            digest.update(f"{name} {json.dumps(settings, default=_named, sort_keys=True)}".encode())
            documents = task.eval_docs
            for index in self.kept[name]:
                row = json.dumps(documents[index], default=str, sort_keys=True)
                digest.update(row.encode())
        return digest.hexdigest()[:32]


def load_suite_task(
    task: SuiteTask, settings: EvaluationConfig, validation: ValidationTexts
) -> LoadedTask:
    """Load one task of a suite, without the validation instances.

    Args:
        task: the task.
        settings: location of the data, number of rows, whether to use the chat template.
        validation: the validation instances.

    Raises:
        ConfigError: a required package is not installed.
        DataError: its data is neither in `suite_data` nor in the cache, and the hub is unreachable;
            or no row is left.
        SandboxError: it runs code, and the sandbox cannot be built on this machine.
    """
    _require_packages(task)
    if task.runs_code:
        require_sandbox()
    names, metric = task.variant(chat=settings.chat_prompts)
    with sandboxed(Limits(seconds=settings.code_seconds)) if task.runs_code else _nothing():
        loaded = _load(task, names, settings)
    kept, excluded = {}, {}
    for name, leaf in loaded.items():
        rows = kept_rows(leaf.eval_docs, validation, task=task.name)
        excluded[name] = len(leaf.eval_docs) - len(rows)
        kept[name] = rows[: settings.suite_limit]
    if not any(kept.values()):
        msg = f"suite task {task.name!r}: all of its rows are validation instances; choose others"
        raise DataError(msg)
    return LoadedTask(task, metric, {n: t for n, t in loaded.items() if kept[n]}, kept, excluded)


def _load(task: SuiteTask, names: Sequence[str], settings: EvaluationConfig) -> dict[str, Any]:
    """Let lm-eval build its tasks, with our number of examples and the local data."""
    changes: dict[str, Any] = {"num_fewshot": task.few_shot}
    local = None if settings.suite_data is None else Path(settings.suite_data) / task.data
    if local is not None and local.is_dir():
        changes["dataset_path"] = str(local)
    if "mbpp_instruct" in names:
        changes["filter_list"] = [_FIRST_BLOCK]
    manager = _manager()
    registry = manager.task_index
    try:
        with _no_bars():
            built: list[Any] = []
            for name in names:
                # the factory behind TaskManager.load, which accepts overrides only for inline tasks
                item = TaskFactory().build(registry[name], overrides=changes, registry=registry)
                built += item if isinstance(item, list) else [item]
            found: dict[str, Any] = manager.load(built)["tasks"]
    except _NOT_LOADED as error:
        where = local if local is not None else "FOLDER/" + task.data
        setting = "" if settings.suite_data else " with evaluation.suite_data: FOLDER"
        reason = shorten(" ".join(str(error).split()) or type(error).__name__, 200)
        msg = (
            f"suite task {task.name!r}: its dataset {task.data} cannot be loaded ({reason}); "
            f"reach the hub once, or fetch it elsewhere (`hf download {task.data} --repo-type "
            f"dataset --local-dir {where}`{setting}), or leave the task out "
            "(evaluation.suite_tasks)"
        )
        raise DataError(msg) from error
    return found


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Hide the progress bars of `datasets`."""
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


@lru_cache(maxsize=1)
def _manager() -> TaskManager:
    """Return lm-eval's index of only the suites' tasks (indexing all takes many seconds)."""
    root = Path(lm_eval.tasks.__file__).parent
    folders: list[str | Path] = [root / folder for folder in _FOLDERS]
    return TaskManager(include_path=folders, include_defaults=False)


def _require_packages(task: SuiteTask) -> None:
    names, extra = task.needs
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        msg = (
            f"suite task {task.name!r} needs {', '.join(missing)}, not installed here; "
            f"pip install 'bids-select[{extra}]', or leave it out (evaluation.suite_tasks)"
        )
        raise ConfigError(msg)
    if task.name == "ifeval":
        checkers()


def _named(value: object) -> str:
    """Return what identifies a value of a task definition that is not a JSON type."""
    return getattr(value, "__qualname__", type(value).__qualname__)


def _nothing() -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()
