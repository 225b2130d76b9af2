"""The pipeline: from a pool of examples to a balanced subset, a tuned model, scores and a report.

Read `select_data` from top to bottom: each line is a stage, and what it passes on is a handle.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Literal

from prefect import flow

from bids_core.config import RunConfig
from flows.budget import planned_picks
from tasks.analysis import run_analysis
from tasks.attribution import CheckpointGradients, run_attribution
from tasks.evaluation import ZERO_SHOT, run_evaluation
from tasks.finetune import run_finetune
from tasks.gradients import plan_shards, run_gradient_shard
from tasks.prepare import load_prepared, prepare_data
from tasks.representations import (
    Representations,
    poolings,
    release_base,
    run_representation_shard,
)
from tasks.run_folder import RunResult, gather_run
from tasks.selection import run_selection
from tasks.warmup import run_warmup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.artifacts import Handle

Stage = Literal["prepare", "warmup", "gradients", "attribution", "selection", "finetune", "report"]


@flow(name="select-data", flow_run_name="{config.name}", validate_parameters=True)
def select_data(config: RunConfig, until: Stage = "report") -> RunResult:
    """Select data with BIDS, then fine-tune, evaluate and explain.

    Args:
        config: the whole configuration.
        until: last stage to run.
    """
    result = RunResult(name=config.name, started=datetime.datetime.now(datetime.UTC))

    data = prepare_data(config)
    result = result.with_stage(data=data)
    planned_picks(config.selection.budget, len(load_prepared(data).train))
    if until == "prepare":
        return gather_run(config, result)

    warm = run_warmup(config, data)
    result = result.with_stage(warm=warm)
    if until == "warmup":
        return gather_run(config, result)

    gradients = all_gradients(config, data, warm)
    result = result.with_stage(gradients=gradients)
    if until == "gradients":
        return gather_run(config, result)

    matrix = run_attribution(config, data, warm, gradients)
    result = result.with_stage(matrix=matrix)
    if until == "attribution":
        return gather_run(config, result)

    methods = config.selection.methods
    states = all_representations(config, data, methods)
    selections = {method: run_selection(config, data, matrix, method, states) for method in methods}
    analysis = run_analysis(config, data, matrix, selections)
    result = result.with_stage(selections=selections, analysis=analysis)
    if until == "selection" or not config.finetune.enabled:
        return gather_run(config, result)

    tuned = {method: run_finetune(config, data, selections[method], method) for method in methods}
    result = result.with_stage(tuned=tuned)
    if until == "finetune" or not config.test:
        return gather_run(config, result)

    models: dict[str, Handle | None] = {ZERO_SHOT: None} if config.evaluation.zero_shot else {}
    scores = {
        method: run_evaluation(config, data, model, method)
        for method, model in (models | tuned).items()
    }
    return gather_run(config, result.with_stage(scores=scores))


def all_gradients(config: RunConfig, data: Handle, warm: Handle) -> tuple[CheckpointGradients, ...]:
    """Compute the features of every shard of both splits at every checkpoint."""
    prepared = load_prepared(data)
    parts = []
    for checkpoint in range(1, config.warmup.epochs + 1):
        shards = {
            split: tuple(
                run_gradient_shard(config, data, warm, shard)
                for shard in plan_shards(
                    getattr(prepared, split).frame,
                    split=split,
                    checkpoint=checkpoint,
                    rows=config.gradients.rows_per_shard,
                )
            )
            for split in ("train", "validation")
        }
        parts.append(CheckpointGradients(**shards))
    return tuple(parts)


def all_representations(
    config: RunConfig, data: Handle, methods: Sequence[str]
) -> dict[str, Representations]:
    """Compute the hidden states that some methods select by; nothing if none does."""
    prepared = load_prepared(data)
    found: dict[str, Representations] = {}
    for pooling in poolings(methods):
        shards = {
            split: tuple(
                run_representation_shard(config, data, pooling, shard)
                for shard in plan_shards(
                    getattr(prepared, split).frame,
                    split=split,
                    checkpoint=0,
                    rows=config.gradients.rows_per_shard,
                )
            )
            for split in ("train", "validation")
        }
        found[pooling] = Representations(**shards)
    release_base()
    return found
