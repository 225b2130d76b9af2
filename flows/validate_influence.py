"""Can influence be trusted on this data? Its predictions are compared with measurements.

Quick: single optimizer steps on sampled rows, from a warmup checkpoint. Full: also training runs on
random subsets, with the user's own settings. The store keeps finished work: run it again to compute
only what is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect import flow

from bids_core.artifacts import ArtifactStore
from bids_core.config import RunConfig
from bids_core.errors import ConfigError
from bids_core.influence.stored import open_attribution
from flows.admission import admit
from flows.beforehand import check_settings
from flows.budget import planned_picks, require_room
from flows.cancelling import cancellable
from flows.cell_queue import finish_cell, next_call, spread_cells, with_error
from flows.influence import all_representations, matrix_key, matrix_of, rows_with_gradients
from flows.spread import Call, all_gradients, spread_calls, warmed
from tasks.attribution import MATRIX
from tasks.cells import FULL, Cell, plan_cells
from tasks.finetune import run_finetune
from tasks.identity import training_config
from tasks.losses import run_losses
from tasks.prepare import load_prepared, prepare_data
from tasks.runtime.progress import Together, current, reporting
from tasks.runtime.run_logs import run_logs
from tasks.selection import run_selection
from tasks.steps import StepRows, plan_steps, release_steps_model, run_steps
from tasks.validation import Measurements, SubsetsFailedError, gather_validation
from tasks.warmup import used_checkpoints

if TYPE_CHECKING:
    from bids_core.artifacts import Handle


@flow(name="validate-influence", flow_run_name="{config.name}", validate_parameters=True)
def validate_influence(
    config: RunConfig,
    rows: int = 64,
    checkpoint: int | None = None,
    learning_rate: float | None = None,
    subsets: int = 0,
) -> dict[str, Any]:
    """Compare the effect of training on rows on the validation losses with what influence predicts.

    Args:
        config: the whole configuration.
        rows: number of pool rows on which a single step is taken.
        checkpoint: of the warmup, from 1; None: the one with the largest weight.
        learning_rate: of the steps; None: the mean rate of the checkpoint's epoch.
        subsets: number of random subsets of the budget's size to train on; 0: none.

    Returns:
        The content of `validation.json` in the run folder.

    Raises:
        SubsetsFailedError: training on some subsets failed; the result is written without them.
    """
    admit(config)
    config = check_settings(config)
    store = ArtifactStore(config.store)
    kept = config.model_copy(
        update={"gradients": config.gradients.model_copy(update={"keep_checkpoints": True})}
    )
    folder = config.output_dir / config.name
    with cancellable(), run_logs(), store.recording(config.name, kind="validation", folder=folder):
        data = prepare_data(config)
        if subsets:
            n_pool = len(load_prepared(data).train)
            require_room(config, planned_picks(config.selection.budget, n_pool), n_pool)
        warm = warmed(config, data)
        number = _checkpoint(config, warm, checkpoint)
        rows_there = rows_with_gradients(config, data, warm)
        gradients = all_gradients(config, rows_there.data, warm)
        matrix = matrix_of(kept, data, warm, rows_there, gradients)
        parts = plan_steps(
            warm,
            load_prepared(data).train.row_ids,
            list(open_attribution(matrix.path() / MATRIX).row_ids),
            rows=rows,
            checkpoint=number,
            learning_rate=learning_rate,
            seed=config.seed,
        )
        steps = _measured(config, data, warm, parts)
        found = Measurements(
            data=data,
            matrix=matrix,
            run_matrix=matrix_key(config, data, warm, rows_there, gradients),
            parts=tuple(parts),
            steps=tuple(steps),
        )
        if subsets:
            found = _with_subsets(config, found, subsets)
        result: dict[str, Any] = gather_validation(config, found)
    failed = [cell for cell in found.cells if cell.failed]
    if failed:
        msg = (
            f"{len(failed)} of {len(found.cells)} training runs failed, the first being "
            f"{failed[0].label} ({failed[0].failed}); the others are kept: run again to do only "
            "the failed ones"
        )
        raise SubsetsFailedError(msg)
    return result


def _checkpoint(config: RunConfig, warm: Handle, wanted: int | None) -> int:
    """Return the number of a checkpoint with gradients; refuse any other."""
    there = used_checkpoints(config, warm)
    if wanted is None:
        weights = warm.summary()["checkpoint_weights"]
        return max(there, key=lambda number: (weights[number - 1], -number))
    if wanted not in there:
        numbers = ", ".join(map(str, there))
        msg = f"--checkpoint {wanted}: choose one of the checkpoints with gradients, {numbers}"
        raise ConfigError(msg)
    return wanted


def _measured(config: RunConfig, data: Handle, warm: Handle, parts: list[StepRows]) -> list[Handle]:
    """Take the steps of all parts; missing parts are shown as one step with the time left."""
    store = ArtifactStore(config.store)
    missing = sum(
        len(part.rows)
        for part in parts
        if store.get(run_steps.identify(config, data, warm, part)) is None
    )
    calls = [
        Call(run_steps, {"data": data, "warm": warm, "part": part}, part.label) for part in parts
    ]
    with reporting(Together(current(), "single steps", "rows", missing)):
        found = spread_calls(config, calls)
    release_steps_model()
    return found


def _with_subsets(config: RunConfig, found: Measurements, subsets: int) -> Measurements:
    """Train on random subsets with the user's settings, and compute the held-out losses."""
    data, matrix = found.data, found.matrix
    section = config.selection
    n_pool = len(load_prepared(data).train)
    plan = plan_cells(["random"], [section.budget], range(subsets), n_pool=n_pool, zero_shot=False)
    if any(cell.method == FULL for cell in plan):
        msg = (
            "selection.budget: the whole pool has no random subsets; lower the budget, for "
            "instance with --set selection.budget=0.5"
        )
        raise ConfigError(msg)
    states = all_representations(config, data, [section.method])
    picks = run_selection(config, data, matrix, section.method, states)
    transfer = config.finetune.model is not None
    target = prepare_data(training_config(config)) if transfer else data
    picked = [_pick(cell, config, data, matrix) for cell in plan]
    if config.execution.training == "inline":
        cells = tuple(finish_cell(cell, config, target, _next_call) for cell in picked)
    else:
        cells = spread_cells(config, picked, target, _next_call)
    if not any(cell.scores for cell in cells):
        msg = f"no training succeeded; the first error: {cells[0].failed}"
        raise SubsetsFailedError(msg)
    return found.model_copy(update={"cells": cells, "picks": picks})


def _pick(cell: Cell, config: RunConfig, data: Handle, matrix: Handle) -> Cell:
    mine = cell.configure(config)
    try:
        return cell.known(selection=run_selection(mine, data, matrix, cell.method, None))
    except Exception as error:  # noqa: BLE001 - named in the result, which ends in an error
        return with_error(cell, "selection", error)


def _next_call(cell: Cell, target: Handle) -> Call | None:
    """Return the next call: the fine-tuning, then the held-out losses instead of the evaluation."""
    call = next_call(cell, target)
    if call is None or call.task.name == run_finetune.name:
        return call
    return Call(run_losses, call.arguments, f"losses {cell.label}")
