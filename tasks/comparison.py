"""Last stage of a comparison: its tables, statistics and page in the run folder."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from bids_core.artifacts import Handle
from bids_core.errors import BidsError
from tasks.attribution import CheckpointGradients
from tasks.cells import Cell

if TYPE_CHECKING:
    from bids_core.config import RunConfig


class ComparisonResult(BaseModel):
    """The handles of a comparison."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Name of the run."""
    started: datetime.datetime
    """When it started (UTC)."""
    data: Handle
    """Prepared data."""
    warm: Handle
    """Warmup checkpoints."""
    gradients: tuple[CheckpointGradients, ...]
    """Gradient shards by checkpoint."""
    matrix: Handle
    """Attribution matrix."""
    cells: tuple[Cell, ...]
    """Methods x budgets x seeds, and the base model."""
    folder: Path | None = None
    """The run folder."""

    def known(self, **values: Any) -> ComparisonResult:
        """Return a copy that knows more."""
        return self.model_copy(update=values)


class CellsFailedError(BidsError):
    """Some cells of a comparison failed; the others are done."""

    def __init__(self, result: ComparisonResult) -> None:
        failed = [cell for cell in result.cells if cell.failed]
        named = "; ".join(f"{cell.label} ({cell.failed})" for cell in failed[:3])
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        super().__init__(
            f"{len(failed)} of {len(result.cells)} cells failed: {named}{more}; the others are "
            "kept: run again to do only the failed ones"
        )
        self.result = result


def gather_comparison(config: RunConfig, result: ComparisonResult) -> ComparisonResult:
    """Write the tables, the statistics and the page."""
    folder = config.output_dir.resolve() / config.name
    folder.mkdir(parents=True, exist_ok=True)
    return result.known(folder=folder)
