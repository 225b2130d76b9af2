"""The pipeline: from a pool of examples to a balanced subset, a tuned model, scores and a report.

Read `select_data` from top to bottom: each line is a stage, and stages pass on handles.
"""

from __future__ import annotations

import datetime
import logging
from typing import TYPE_CHECKING, Literal

from prefect import flow

from bids_core.artifacts import ArtifactStore
from bids_core.config import RunConfig
from bids_core.selection.names import ZERO_SHOT, method_name
from flows.admission import admit
from flows.beforehand import check_settings
from flows.budget import check_methods, planned_picks, require_room
from flows.cancelling import cancellable
from flows.influence import all_representations, matrix_of, rows_with_gradients
from flows.spread import Call, all_gradients, spread_calls, warmed
from flows.work import planned_work
from tasks.analysis import run_analysis
from tasks.checks import check_run
from tasks.evaluation import run_evaluation
from tasks.finetune import run_finetune
from tasks.identity import training_config
from tasks.prepare import load_prepared, prepare_data
from tasks.run_folder import gather_run
from tasks.run_result import RunResult
from tasks.runtime.progress import expect
from tasks.runtime.run_logs import run_logs
from tasks.screen_facts import screen_facts
from tasks.selection import run_selection
from tasks.ui_artifacts import show_run

if TYPE_CHECKING:
    from bids_core.artifacts import Handle

logger = logging.getLogger(__name__)

Stage = Literal["prepare", "warmup", "gradients", "attribution", "selection", "finetune", "report"]


@flow(name="select-data", flow_run_name="{config.name}", validate_parameters=True)
def select_data(config: RunConfig, until: Stage = "report") -> RunResult:
    """Select data with BIDS, then fine-tune, evaluate and explain.

    Args:
        config: the whole configuration.
        until: last stage to run.
    """
    admit(config)
    config = check_settings(config)
    store = ArtifactStore(config.store)
    folder = config.output_dir / config.name
    with cancellable(), run_logs(), store.recording(config.name, kind="run", folder=folder):
        result = _stages(config, until)
        show_run(config, result)
        return result


def _stages(config: RunConfig, until: Stage) -> RunResult:
    result = RunResult(name=config.name, started=datetime.datetime.now(datetime.UTC))

    data = prepare_data(config)
    result = result.with_stage(data=data)
    n_pool = len(load_prepared(data).train)
    require_room(config, planned_picks(config.selection.budget, n_pool), n_pool)
    check_methods(config, load_prepared(data), config.selection.methods)
    if until == "prepare":
        return gather_run(config, result)
    transfer = config.finetune.model is not None  # another tokenizer: tokens cannot be reused
    reached = until in ("finetune", "report") and config.finetune.enabled
    target = prepare_data(training_config(config)) if transfer and reached else data
    for remark in check_run(
        config,
        load_prepared(data),
        None if target is data else load_prepared(target),
        evaluates=until == "report",
    ):
        logger.warning("%s", remark)

    expect(planned_work(config, data, until))
    warm = warmed(config, data)
    result = result.with_stage(warm=warm)
    if until == "warmup":
        return gather_run(config, result)

    rows = rows_with_gradients(config, data, warm)
    gradients = all_gradients(config, rows.data, warm)
    result = result.with_stage(screen=rows.screen, gradients=gradients)
    if until == "gradients":
        return gather_run(config, result)

    matrix = matrix_of(config, data, warm, rows, gradients)
    result = result.with_stage(matrix=matrix)
    if until == "attribution":
        return gather_run(config, result)

    states = all_representations(config, data, config.selection.methods)
    selections = {
        method_name(method): run_selection(config, data, matrix, method, states)
        for method in config.selection.methods
    }
    methods = tuple(selections)
    analysis = run_analysis(config, data, matrix, selections)
    result = result.with_stage(selections=selections, analysis=analysis)
    if (facts := screen_facts(config, result)) is not None:
        logger.warning("%s", facts["words"])
    if until == "selection" or not config.finetune.enabled:
        return gather_run(config, result)

    calls = [
        Call(
            run_finetune,
            {"data": target, "selection": selections[method], "method": method},
            f"finetune {method}",
        )
        for method in methods
    ]
    tuned: dict[str, Handle] = dict(zip(methods, spread_calls(config, calls), strict=True))
    result = result.with_stage(tuned=tuned)
    if until == "finetune" or not config.has_evaluation:
        return gather_run(config, result)

    models: dict[str, Handle | None] = {ZERO_SHOT: None} if config.evaluation.zero_shot else {}
    models |= tuned
    calls = [
        Call(
            run_evaluation,
            {"data": target, "tuned": model, "method": method},
            f"evaluation {method}",
        )
        for method, model in models.items()
    ]
    scores = dict(zip(models, spread_calls(config, calls), strict=True))
    return gather_run(config, result.with_stage(scores=scores))
