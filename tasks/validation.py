"""Last stage of `bids validate`: the conclusions from the measurements, in the run folder."""

from __future__ import annotations

import datetime
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from prefect import task
from pydantic import BaseModel, ConfigDict

from bids_core.artifacts import Handle
from bids_core.config import RunConfig
from bids_core.config.find import MANIFEST
from bids_core.diagnostics.datamodel import Outcomes, fit_datamodel
from bids_core.diagnostics.datamodel_words import datamodel_words
from bids_core.diagnostics.single_steps import BEFORE, MEASURED
from bids_core.diagnostics.trust import assess
from bids_core.errors import BidsError
from bids_core.influence.stored import open_attribution
from bids_core.selection.names import method_label
from tasks.attribution import MATRIX
from tasks.cells import Cell
from tasks.losses import read_losses
from tasks.manifest import replace_file, shown_config
from tasks.prepare import load_prepared
from tasks.run_folder import write_run_folder_anew
from tasks.runtime.progress import current
from tasks.selection import read_selection
from tasks.steps import StepRows, read_steps
from tasks.validation_file import VALIDATION, read_validation

if TYPE_CHECKING:
    import numpy.typing as npt

    from bids_core.influence.stored import Attribution

_HELD_OUT: Final = {"validation": "validation instances", "test": "test rows"}


class Measurements(BaseModel):
    """The handles of a validation."""

    model_config = ConfigDict(frozen=True)

    data: Handle
    """Prepared data."""
    matrix: Handle
    """Attribution matrix with which the measurements are compared; it keeps its checkpoints."""
    run_matrix: str
    """Key of the matrix of a run with this configuration."""
    parts: tuple[StepRows, ...]
    """What was measured, in parts."""
    steps: tuple[Handle, ...]
    """The measurements."""
    cells: tuple[Cell, ...] = ()
    """Random subsets that were trained on, with `losses` as their scores. Empty in the quick
    form."""
    picks: Handle | None = None
    """The method's picks, as many as a subset has."""


class SubsetsFailedError(BidsError):
    """Some training runs on random subsets failed; the others are kept."""


@task(name="validation", persist_result=False)
def gather_validation(config: RunConfig, found: Measurements) -> dict[str, Any]:
    """Evaluate the measurements; write `validation.json`, and the report again.

    A part that is not measured this time (the subsets, in the quick form) is kept from the last
    time if the influence is the same.
    """
    started = time.perf_counter()
    folder = config.output_dir.resolve() / config.name
    folder.mkdir(parents=True, exist_ok=True)
    result = (read_validation(folder, found.run_matrix) or {}) | {
        "name": config.name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "model": shown_config(config, folder).model.path,
        "matrix": found.run_matrix,
        "steps": _steps(found),
    }
    result.pop("folder", None)  # a file written by an earlier version
    if found.cells:
        result["subsets"] = _subsets(config, found)
    replace_file(folder / VALIDATION, json.dumps(result, indent=1, allow_nan=False))
    _write_report_anew(folder)
    current().end("validation", seconds=time.perf_counter() - started, cached=False)
    return result | {"folder": str(folder)}


def _steps(found: Measurements) -> dict[str, Any]:
    attribution = open_attribution(found.matrix.path() / MATRIX)
    prepared = load_prepared(found.data)
    measured = [read_steps(handle) for handle in found.steps]
    ids = prepared.validation.row_ids
    kept = [ids.index(name) for name in attribution.validation_ids]
    place = {row_id: index for index, row_id in enumerate(attribution.row_ids)}
    pool = prepared.train.row_ids
    rows = [place[pool[row]] for part in found.parts for row in part.rows]
    first = found.parts[0]
    predictions = {
        name: np.concatenate([part[name] for part in measured])[:, kept]
        for name in measured[0]
        if name not in (MEASURED, BEFORE)
    }
    predictions |= _influence(attribution, rows, first.checkpoint)
    trust = assess(
        np.concatenate([part[MEASURED] for part in measured])[:, kept],
        predictions,
        losses_M=measured[0][BEFORE][0, kept],
        tasks=attribution.tasks,
        validation_ids=attribution.validation_ids,
    )
    return trust.to_dict() | {"checkpoint": first.checkpoint, "learning_rate": first.learning_rate}


def _influence(
    attribution: Attribution, rows: list[int], checkpoint: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Return the run's own influence of some rows: at the checkpoint, and over all checkpoints."""
    whole = attribution.values()[rows].astype(np.float64)
    if len(attribution.checkpoint_weights) == 1 or not attribution.parts:  # one, or inferred
        return {"run": whole}
    place = attribution.checkpoint_numbers.index(checkpoint)
    here = np.asarray(attribution.parts[place][:])[rows].astype(np.float64)
    return {"run": here, "all_checkpoints": whole}


def _subsets(config: RunConfig, found: Measurements) -> dict[str, Any]:
    """Return how well summed influence ranked the training runs, for each kind of held-out rows."""
    assert found.picks is not None  # noqa: S101 - made together with the cells
    attribution = open_attribution(found.matrix.path() / MATRIX)
    done = [cell for cell in found.cells if cell.scores is not None]
    losses = [read_losses(cell.scores) for cell in done if cell.scores is not None]
    sums = np.stack([_summed(attribution, cell.selection) for cell in done if cell.selection])
    picked = _summed(attribution, found.picks)
    label = method_label(config.selection.method)
    result: dict[str, Any] = {
        "n_subsets": len(done),
        "n_rows": done[0].n_rows,
        "method": config.selection.method,
        "failed": [
            {"subset": cell.label, "reason": cell.failed} for cell in found.cells if cell.failed
        ],
    }
    for split, held_out in _HELD_OUT.items():
        outcomes = _outcomes(attribution, sums, picked, losses, split)
        if outcomes is not None:
            scores = fit_datamodel(outcomes)
            words = datamodel_words(scores, held_out=held_out, method=label)
            result[split] = scores.to_dict() | {"words": words}
    return result


def _summed(attribution: Attribution, selection: Handle) -> npt.NDArray[np.float64]:
    """Return the summed influence of a selection's rows on each validation instance, [M]."""
    place = {row_id: index for index, row_id in enumerate(attribution.row_ids)}
    rows = [place[row_id] for row_id in read_selection(selection)["row_id"]]
    summed: npt.NDArray[np.float64] = attribution.values()[rows].sum(axis=0, dtype=np.float64)
    return summed


def _outcomes(
    attribution: Attribution,
    sums_SM: npt.NDArray[np.float64],
    picked_M: npt.NDArray[np.float64],
    losses: list[pd.DataFrame],
    split: str,
) -> Outcomes | None:
    """Return the outcomes on one split; None if influence covers none of its rows.

    A validation row has its own column; a test row gets the mean column of its task.
    """
    columns = (
        {name: [j] for j, name in enumerate(attribution.validation_ids)}
        if split == "validation"
        else pd.Series(range(len(attribution.tasks))).groupby(attribution.tasks).apply(list)
    )
    key = "row_id" if split == "validation" else "task"
    frames = [frame[frame["split"] == split] for frame in losses]
    known = frames[0][frames[0][key].isin(list(columns.keys()))]
    if known.empty:
        return None
    groups = [columns[name] for name in known[key]]
    held = [frame.set_index("row_id")["loss"].loc[known["row_id"]].to_numpy() for frame in frames]
    return Outcomes(
        predicted_SH=np.stack([sums_SM[:, group].mean(axis=1) for group in groups], axis=1),
        losses_SH=np.stack(held),
        tasks=known["task"].tolist(),
        method_H=np.array([picked_M[group].mean() for group in groups]),
    )


def _write_report_anew(folder: Path) -> None:
    """Put the result into the run's report, if there is one."""
    if (folder / MANIFEST).is_file():
        write_run_folder_anew(folder)
