"""Mistakes in a run's settings that can be found before Prefect starts and anything is computed.

Every flow runs these checks first; the commands run them before they import Prefect, whose server
takes fifteen seconds to start.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bids_core.artifacts import ArtifactStore, require_writable
from bids_core.config.selection import distinct_names
from bids_core.data.sources import find_sources
from bids_core.errors import ConfigError
from bids_core.models.load import require_model
from bids_core.publishing.send import require_publishers
from bids_core.selection.methods import require_methods
from bids_core.training.reporters import require_reporters
from flows.confinement import Confinement
from tasks.external_warmup import with_checkpoints_adapters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.config import RunConfig


def check_settings(config: RunConfig, methods: Sequence[str] | None = None) -> RunConfig:
    """Check everything that the settings name: files, models, code, packages, output folders.

    Args:
        config: the run.
        methods: the requested ones; None: the configuration's.

    Returns:
        The configuration, with the adapter settings of checkpoints from elsewhere.

    Raises:
        BidsError: something is wrong; one line that names the key, the value and the fix.
    """
    confinement = Confinement.from_environment(os.environ)
    if confinement is not None:
        confinement.check(config)
    require_methods(config.selection.methods if methods is None else methods)
    require_publishers(config.output)
    find_sources(config, Path.cwd())
    require_model(config.model)
    if config.finetune.enabled:
        _check_finetune(config)
    for task in config.test:
        if task.scorer is not None:
            from bids_core.evaluation.scorers import load_scorer

            load_scorer(task)
    ArtifactStore(config.store).require_access()
    require_writable(config.output_dir.resolve() / config.name, key="output_dir")
    return with_checkpoints_adapters(config)


def check_comparison(config: RunConfig, methods: Sequence[str]) -> RunConfig:
    """Run the same checks for a comparison of methods, which also needs test rows."""
    try:
        distinct_names(tuple(methods))
    except ValueError as error:
        msg = f"methods: {error}"
        raise ConfigError(msg) from error
    if not config.test and not config.evaluation.suites:
        msg = (
            "test: a comparison needs held-out rows; add tasks with their files under `test`, or "
            "benchmarks under `evaluation.suites`"
        )
        raise ConfigError(msg)
    return check_settings(config, methods)


def _check_finetune(config: RunConfig) -> None:
    if config.finetune.model is not None:
        require_model(config.finetune.model)
    require_reporters(config.finetune.report_to)
