"""Checks that an evaluation will work, before anything is trained. Imports no Prefect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_core.evaluation.plan import plan_tasks
from bids_core.models.facts import max_positions, vocabulary_size
from bids_core.models.load import read_config
from bids_core.sandbox import Limits

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from bids_core.config import RunConfig
    from bids_core.data import PreparedData


def check_evaluation(
    config: RunConfig, data: PreparedData, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Check, before anything is trained, that the evaluation will work.

    Args:
        config: the run, with `model` the one that is evaluated.
        data: tokenized for it.
        tokenizer: its tokenizer, with `data.template_args` set.

    Raises:
        ConfigError, DataError, SandboxError: something will not work (a scorer, a row, a suite's
            data set, a package, the sandbox); one line.
    """
    if config.test:
        facts = read_config(config.model)
        plan_tasks(
            data.test,
            tokenizer,
            config.test,
            max_positions=max_positions(facts),
            code_limits=code_limits(config),
            vocabulary=vocabulary_size(facts),
        )
    if not config.evaluation.suites:
        return
    from tasks.suites import load_suites

    load_suites(config, data)
    if config.evaluation.backend == "vllm":
        from bids_core.evaluation.suites.vllm import require_vllm

        require_vllm()


def code_limits(config: RunConfig) -> Limits | None:
    """Return the limits of generated code, None if none is run."""
    settings = config.evaluation
    return Limits(seconds=settings.code_seconds) if settings.run_generated_code else None
