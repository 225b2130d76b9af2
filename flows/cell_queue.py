"""The cells of a comparison, in parallel on workers: each is fine-tuned, then evaluated.

The evaluation of a cell is ready as soon as its fine-tuned model is in the store, and has priority
over further fine-tuning, so that an interrupted comparison has complete cells. A failure is
recorded with its cell, and the others continue.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from bids_core.artifacts import ArtifactStore
from flows.dispatch import hand_out
from flows.spread import Call, call_parcel, portable
from tasks.evaluation import run_evaluation
from tasks.finetune import run_finetune
from tasks.runtime.progress import current

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bids_core.artifacts import Handle
    from bids_core.config import RunConfig
    from bids_core.errors import BidsError
    from flows.dispatch import Item, Parcel
    from tasks.cells import Cell

logger = logging.getLogger(__name__)

Follow: TypeAlias = "Callable[[Cell, Handle], Call | None]"
"""Returns the next call of a cell that has its picks, given the training data."""


def next_call(cell: Cell, target: Handle) -> Call | None:
    """Return the next call of a cell that has its picks; None if it has its scores or has failed.

    Args:
        cell: one method at one budget with one seed.
        target: prepared data, tokenized for the model that is trained.
    """
    if cell.failed or cell.scores is not None:
        return None
    if cell.seed is not None and cell.tuned is None:
        arguments = {"data": target, "selection": cell.selection, "method": cell.label}
        return Call(run_finetune, arguments, f"finetune {cell.label}")
    arguments = {"data": target, "tuned": cell.tuned, "method": cell.label}
    return Call(run_evaluation, arguments, f"evaluation {cell.label}")


def with_result(cell: Cell, call: Call, handle: Handle) -> Cell:
    """Return a cell with the result of one of its calls."""
    return cell.known(**{"tuned" if call.task.name == run_finetune.name else "scores": handle})


def with_error(cell: Cell, stage: str, error: Exception) -> Cell:
    """Return a cell with the stage and reason of its failure; the log has the details."""
    reason = str(error).strip() or type(error).__name__
    logger.warning("%s failed in %s: %s", cell.label, stage, reason)
    return cell.known(failed=f"{stage}: {reason.splitlines()[0]}")


def finish_cell(cell: Cell, config: RunConfig, target: Handle, follow: Follow = next_call) -> Cell:
    """Run a cell's calls in this process until it has its scores or an error.

    Args:
        cell: with its picks.
        config: of the comparison.
        target: prepared data, tokenized for the model that is trained.
        follow: returns the next call of a cell.
    """
    mine = cell.configure(config)
    while (call := follow(cell, target)) is not None:
        try:
            cell = with_result(cell, call, call.task(mine, **call.arguments))
        except Exception as error:  # noqa: BLE001 - named in the result, which ends in an error
            cell = with_error(cell, call.task.name, error)
    return cell


def spread_cells(
    config: RunConfig, cells: Sequence[Cell], target: Handle, follow: Follow = next_call
) -> tuple[Cell, ...]:
    """Run the calls of cells on workers until each has its scores or an error.

    Args:
        config: of the comparison; `execution` says how many at once.
        cells: with their picks.
        target: prepared data, tokenized for the model that is trained.
        follow: returns the next call of a cell.

    Raises:
        ConfigError: there is no deployment for them, or it refuses the parameters.
    """
    store = ArtifactStore(config.store)
    queue = CellQueue(portable(config, store), cells, target, follow)
    hand_out(queue, config.execution.training_deployment, config.execution, store)
    return tuple(queue.cells.values())


class CellQueue:
    """Parcels of one call each, in the order in which cells are ready.

    Args:
        config: from `portable`.
        cells: with their picks.
        target: prepared data, tokenized for the model that is trained.
        follow: returns the next call of a cell.
    """

    def __init__(
        self,
        config: RunConfig,
        cells: Sequence[Cell],
        target: Handle,
        follow: Follow = next_call,
    ) -> None:
        self._follow = follow
        self.cells = {cell.label: cell for cell in cells}
        self._config, self._target = config, target
        self._ready = deque(self.cells)

    def next_parcel(self, slots: int) -> Parcel | None:  # noqa: ARG002 - each is one call
        """Return the next call that is ready and not in the store."""
        while self._ready:
            cell = self.cells[self._ready.popleft()]
            call = self._follow(cell, self._target)
            if call is None:
                continue
            try:
                handle, parcel = call_parcel(cell.configure(self._config), call)
            except Exception as error:  # noqa: BLE001 - named in the result, which ends in an error
                self.cells[cell.label] = with_error(cell, call.task.name, error)
                continue
            if parcel is not None:
                return parcel
            self._take(call, handle, cached=True)
        return None

    def done(self, item: Item) -> None:
        """Record a result; the cell's next call is ready."""
        self._take(item.value, item.handle, cached=False)

    def failed(self, parcel: Parcel, error: BidsError) -> None:
        """Record the error with the cell."""
        for item in parcel.items:
            cell = self.cells[_owner(item.value)]
            self.cells[cell.label] = with_error(cell, item.value.task.name, error)

    def _take(self, call: Call, handle: Handle, *, cached: bool) -> None:
        seconds = 0.0 if cached else float(handle.record()["seconds"])
        current().end(call.label, seconds=seconds, cached=cached)
        label = _owner(call)
        self.cells[label] = with_result(self.cells[label], call, handle)
        self._ready.appendleft(label)


def _owner(call: Call) -> str:
    return str(call.arguments["method"])
