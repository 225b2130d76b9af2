"""Is the selection any good? Methods x budgets x seeds, on one warmup and one gradient store.

Every cell is fine-tuned and evaluated separately, in this process or in parallel on workers; a cell
that fails is named, the others finish. The store keeps finished work: running the same comparison
again computes only what is missing.
"""

from __future__ import annotations

import datetime
import logging
from typing import TYPE_CHECKING, Annotated

from prefect import flow
from pydantic import Field

from bids_core.artifacts import ArtifactStore
from bids_core.config import Budget, RunConfig, Seed, SelectionMethods
from bids_core.selection.names import ZERO_SHOT
from flows.admission import admit, admit_methods
from flows.beforehand import check_comparison
from flows.budget import check_methods, planned_picks, require_room
from flows.cancelling import cancellable
from flows.cell_queue import finish_cell, spread_cells, with_error
from flows.influence import all_representations, matrix_of, rows_with_gradients
from flows.spread import all_gradients, warmed
from flows.work import planned_comparison
from tasks.cells import Cell, plan_cells
from tasks.checks import check_run
from tasks.comparison import CellsFailedError, ComparisonResult, gather_comparison
from tasks.identity import training_config
from tasks.prepare import load_prepared, prepare_data
from tasks.runtime.progress import expect
from tasks.runtime.run_logs import run_logs
from tasks.selection import run_selection

if TYPE_CHECKING:
    from bids_core.artifacts import Handle
    from tasks.representations import Representations

logger = logging.getLogger(__name__)


@flow(name="compare-methods", flow_run_name="{config.name}", validate_parameters=True)
def compare_methods(
    config: RunConfig,
    methods: Annotated[SelectionMethods, Field(min_length=1)] = (
        "bids",
        "less",
        "random",
    ),
    budgets: Annotated[tuple[Budget, ...], Field(min_length=1)] = (0.05, 0.15),
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1, 2),
) -> ComparisonResult:
    """Compare selection methods: fine-tune and evaluate each at each budget with each seed.

    Args:
        config: the whole configuration; `selection.method` is the main method if it takes part.
        methods: the methods to compare.
        budgets: counts or fractions of the pool; 1.0 is the whole pool.
        seeds: of the fine-tuning (order, adapters, dropout) and of random draws.

    Raises:
        CellsFailedError: some cells failed; the others are in its result and in the run folder.
    """
    admit(config)
    admit_methods(methods, key="methods")
    config = check_comparison(config, methods)
    store = ArtifactStore(config.store)
    started = datetime.datetime.now(datetime.UTC)
    folder = config.output_dir / config.name
    with cancellable(), run_logs(), store.recording(config.name, kind="comparison", folder=folder):
        data = prepare_data(config)
        n_pool = len(load_prepared(data).train)
        for budget in budgets:
            require_room(config, planned_picks(budget, n_pool), n_pool)
        check_methods(config, load_prepared(data), methods)
        transfer = config.finetune.model is not None  # another tokenizer: tokens cannot be reused
        target = prepare_data(training_config(config)) if transfer else data
        for remark in check_run(
            config,
            load_prepared(data),
            load_prepared(target) if transfer else None,
            evaluates=True,
        ):
            logger.warning("%s", remark)
        plan = plan_cells(
            methods, budgets, seeds, n_pool=n_pool, zero_shot=config.evaluation.zero_shot
        )
        if config.execution.training == "inline":  # elsewhere the number in parallel is unknown
            expect(planned_comparison(config, data, plan))
        trained = [cell.picked_with for cell in plan if cell.method != ZERO_SHOT]
        shared = _Shared(config, data, target, trained)
        if config.execution.training == "inline":
            cells = tuple(
                finish_cell(_pick(cell, config, shared), config, shared.target) for cell in plan
            )
        else:
            picked = [_pick(cell, config, shared) for cell in plan]
            cells = spread_cells(config, picked, shared.target)
        result = gather_comparison(
            config,
            ComparisonResult(
                name=config.name,
                started=started,
                data=data,
                warm=shared.warm,
                gradients=shared.gradients,
                matrix=shared.matrix,
                cells=cells,
            ),
        )
    if any(cell.failed for cell in cells):
        raise CellsFailedError(result)
    return result


class _Shared:
    """What all cells share, computed once."""

    def __init__(self, config: RunConfig, data: Handle, target: Handle, methods: list[str]) -> None:
        self.data = data
        self.warm = warmed(config, data)
        rows = rows_with_gradients(config, data, self.warm)
        self.gradients = all_gradients(config, rows.data, self.warm)
        self.matrix = matrix_of(config, data, self.warm, rows, self.gradients)
        self.states: dict[str, Representations] = all_representations(
            config, data, list(dict.fromkeys(methods))
        )
        self.target = target


def _pick(cell: Cell, config: RunConfig, shared: _Shared) -> Cell:
    """Select the rows of a cell."""
    if cell.seed is None:
        return cell
    mine = cell.configure(config)
    try:
        picks = run_selection(mine, shared.data, shared.matrix, cell.picked_with, shared.states)
    except Exception as error:  # noqa: BLE001 - named in the result, which ends in an error
        return with_error(cell, "selection", error)
    return cell.known(selection=picks)
