"""Last stage of a comparison: its tables, statistics and page in the run folder."""

from __future__ import annotations

import datetime
import json
import math
import time
from pathlib import Path
from typing import Any, Final

import pandas as pd
from prefect import task
from pydantic import BaseModel, ConfigDict

from bids_core.artifacts import Handle, referred
from bids_core.comparison import compare, judge, suite_table
from bids_core.config import RunConfig
from bids_core.data import read_table
from bids_core.errors import BidsError
from bids_core.report.comparison_page import ComparisonInputs, build_comparison_page
from bids_core.selection import METHODS
from tasks.attribution import CheckpointGradients
from tasks.cells import Cell
from tasks.evaluation import SCORES
from tasks.identity import training_config
from tasks.manifest import relative_handles, replace_file, shown_config
from tasks.prepare import load_prepared
from tasks.runtime.progress import current
from tasks.samples import NO_SEED, arm_samples, results_of
from tasks.suites import suite_members

CELLS: Final = "comparison.parquet"
SAMPLES_TABLE: Final = "comparison_samples.parquet"
DIFFERENCES: Final = "comparison_differences.parquet"
SUMMARY: Final = "comparison.json"
PAGE: Final = "comparison.html"


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
    """Cells: methods x budgets x seeds, and the base model."""
    folder: Path | None = None
    """The run folder."""

    def known(self, **values: Any) -> ComparisonResult:
        """Return a copy with more handles."""
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


@task(name="comparison", persist_result=False)
def gather_comparison(config: RunConfig, result: ComparisonResult) -> ComparisonResult:
    """Write the tables, the statistics and the page of a comparison into the run folder.

    `comparison.parquet` has one row per cell and task, `comparison_samples.parquet` one per cell
    and test row; `comparison_differences.parquet` has the intervals, `comparison.json` a summary.
    """
    started = time.perf_counter()
    folder = config.output_dir.resolve() / config.name
    folder.mkdir(parents=True, exist_ok=True)
    result = result.known(folder=folder)
    cells = cell_table(result)
    cells.to_parquet(folder / CELLS, index=False)
    samples = sample_table(result)
    if not samples.empty:
        samples.to_parquet(folder / SAMPLES_TABLE, index=False)
        inputs = _inputs(config, result, samples)
        inputs.comparison.differences.to_parquet(folder / DIFFERENCES, index=False)
        replace_file(folder / PAGE, build_comparison_page(inputs))
        replace_file(folder / SUMMARY, json.dumps(_summary(config, result, inputs), indent=1))
    current().end("comparison", seconds=time.perf_counter() - started, cached=False)
    return result


def cell_table(result: ComparisonResult) -> pd.DataFrame:
    """Return one row per cell and task: scores, costs, and the error if it failed."""
    rows: list[dict[str, Any]] = []
    for cell in result.cells:
        costs = cell_costs(cell)
        facts = {
            "method": cell.method,
            "budget": None if cell.budget is None else float(cell.budget),
            "n_rows": cell.n_rows,
            "seed": cell.seed,
            "failed": cell.failed,
            **costs,
        }
        if cell.scores is None:
            rows.append(facts)
            continue
        scores = read_table(cell.scores.path() / SCORES)
        found = scores.to_dict(orient="records")
        rows += [facts | {str(name): value for name, value in row.items()} for row in found]
    return pd.DataFrame(rows).astype({"seed": "Int64", "failed": "string"})


def sample_table(result: ComparisonResult) -> pd.DataFrame:
    """Return one row per finished cell and test row, for `bids_core.comparison.Results`."""
    parts = [
        arm_samples(
            cell.scores,
            method=cell.method,
            n_rows=cell.n_rows,
            seed=NO_SEED if cell.seed is None else cell.seed,
        )
        for cell in result.cells
        if cell.scores is not None
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def cell_costs(cell: Cell) -> dict[str, float]:
    """Return tokens, seconds and peak memory of a cell, from the records of its artifacts."""
    found = {"tokens": math.nan, "peak_memory_bytes": math.nan}
    stages = {"selection": cell.selection, "finetune": cell.tuned, "evaluation": cell.scores}
    for name, handle in stages.items():
        record = None if handle is None else handle.record()
        if record is None:
            found[f"{name}_seconds"] = math.nan
            continue
        earlier = float(record["summary"].get("earlier_seconds", 0.0))  # parts done before a kill
        found[f"{name}_seconds"] = float(record["seconds"]) + earlier
        peak = float(record["summary"].get("peak_memory_bytes") or math.nan)
        found["peak_memory_bytes"] = max(peak, found["peak_memory_bytes"], key=_or_zero)
        if name == "finetune":
            found["tokens"] = float(record["summary"]["tokens"])
    return found


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _inputs(config: RunConfig, result: ComparisonResult, samples: pd.DataFrame) -> ComparisonInputs:
    evaluations = [cell.scores for cell in result.cells if cell.scores is not None]
    methods = [cell.method for cell in result.cells if cell.seed is not None]
    main = config.selection.main if config.selection.main in methods else methods[0]
    return ComparisonInputs(
        name=config.name,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        model=training_config(shown_config(config, config.output_dir)).model.path,
        n_pool=len(load_prepared(result.data).train),
        comparison=compare(results_of(samples, evaluations), main),
        costs=_mean_costs(result),
        failed=[(cell.label, cell.failed) for cell in result.cells if cell.failed],
        suites=suite_members(config),
    )


def _mean_costs(result: ComparisonResult) -> pd.DataFrame:
    shared = _shared_seconds(result)
    rows = [
        {
            "method": cell.method,
            "n_rows": cell.n_rows,
            **cell_costs(cell),
            "shared_seconds": shared if _needs_influence(cell.picked_with) else math.nan,
        }
        for cell in result.cells
        if cell.scores is not None
    ]
    frame = pd.DataFrame(rows).groupby(["n_rows", "method"], sort=True)
    peak = frame["peak_memory_bytes"].max()
    return frame.mean().assign(peak_memory_bytes=peak).reset_index()


def _needs_influence(method: str) -> bool:
    return method in METHODS and METHODS[method].needs == "influence"


def _shared_seconds(result: ComparisonResult) -> float:
    shards = [shard for part in result.gradients for shard in (*part.train, *part.validation)]
    return sum(float(h.record()["seconds"]) for h in (result.warm, *shards, result.matrix))


def _summary(
    config: RunConfig, result: ComparisonResult, inputs: ComparisonInputs
) -> dict[str, Any]:
    comparison = inputs.comparison
    verdict = judge(comparison, failed=len(inputs.failed))
    tables = {
        "arms": comparison.arms, "differences": comparison.differences,
        "tasks": comparison.tasks, "suites": suite_table(comparison.tasks, inputs.suites),
        "costs": inputs.costs,
    }  # fmt: skip
    return {
        "name": config.name,
        "created": inputs.created,
        "main_method": comparison.main_method,
        "verdict": verdict.to_dict(),
        "conclusions": list(verdict.sentences),
        **{name: json.loads(table.to_json(orient="records")) for name, table in tables.items()},
        "failed": [{"cell": name, "reason": reason} for name, reason in inputs.failed],
        "artifacts": referred(),
        "cells": relative_handles(
            [cell.model_dump(mode="json") for cell in result.cells], config.output_dir / config.name
        ),
    }
