"""Stage `analysis`: what the pool and the selections influence, and whether to trust the picks."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from bids_core.artifacts import Draft, Handle, Identity
from bids_core.config import RunConfig
from bids_core.config.slices import sliced
from bids_core.data import read_table
from bids_core.diagnostics.analysis import analyze
from bids_core.diagnostics.breakdown import breakdown, few_valued
from bids_core.diagnostics.stability import (
    checkpoint_agreement,
    leave_one_out,
    leave_out_checkpoints,
)
from bids_core.errors import UserError
from bids_core.influence.normalization import ColumnWarning
from bids_core.influence.stored import open_attribution
from bids_core.selection import METHODS, NO_COLUMN, Selection
from tasks.attribution import MATRIX
from tasks.identity import selection_config, with_method
from tasks.prepare import columns_digest, load_prepared, texts_digest
from tasks.runtime.stage import stage_task
from tasks.selection import pool_ids, read_selection, row_sources, selection_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.data import PreparedData
    from bids_core.influence.stored import Attribution
    from bids_core.progress import Progress

logger = logging.getLogger(__name__)

VERSION: Final = 3
TABLES: Final = "analysis"


def identify(
    config: RunConfig, data: Handle, matrix: Handle, selections: dict[str, Handle]
) -> Identity:
    """Return the identity of an analysis: the matrix, the picks, the texts."""
    return Identity(
        "analysis",
        VERSION,
        config=with_method(sliced(config, "analysis"), config.selection.method),
        inputs={
            "attribution": matrix.fingerprint,
            "selections": {method: handle.fingerprint for method, handle in selections.items()},
            "sources": data.summary()["digests"]["sources"],
            "texts": texts_digest(data),
            "columns": columns_digest(data),
        },
        uses=(data.key, matrix.key, *(handle.key for handle in selections.values())),
    )


def compute(
    config: RunConfig,
    data: Handle,
    matrix: Handle,
    selections: dict[str, Handle],
    *,
    draft: Draft,
    progress: Progress,
) -> None:
    """Analyse the attribution matrix and all selections; write the tables."""
    attribution = open_attribution(matrix.path() / MATRIX)
    prepared = load_prepared(data)
    train = prepared.train
    texts = dict(zip(train.row_ids, train.texts(), strict=True))
    picks = {
        name: chosen
        for name, handle in selections.items()
        if len(chosen := _selection(name, handle, attribution))
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ColumnWarning)
        found = analyze(
            attribution.matrix,
            picks,
            tasks=attribution.tasks,
            capabilities=attribution.capabilities,
            sources=row_sources(prepared, attribution.row_ids),
            texts=[texts[row_id] for row_id in attribution.row_ids],
            normalization=config.selection.normalization,
            row_ids=attribution.row_ids,
            validation_ids=attribution.validation_ids,
        )
    draft.summary["warnings"] = [str(warning.message) for warning in caught]
    for message in draft.summary["warnings"]:
        logger.warning("%s", message)
    rows = pool_ids(prepared, attribution)
    columns = few_columns(prepared, rows)
    if columns:
        place = {row_id: row for row, row_id in enumerate(rows)}
        everywhere = {
            name: np.array([place[row_id] for row_id in read_selection(handle)["row_id"]])
            for name, handle in selections.items()
        }
        found.tables["breakdown"] = breakdown(columns, everywhere)
    try:
        found.tables.update(_stability(config, prepared, attribution, progress))
    except UserError as error:  # a user's own method, given less than it expects
        if METHODS[config.selection.method].code is None:
            raise
        msg = f"the stability of the picks is not shown, because with a part left out {error}"
        logger.warning("%s", msg)
        draft.summary["warnings"].append(msg)
    found.write(draft.path / TABLES)


run_analysis = stage_task("analysis", identify, compute, unit="picks")


def analysis_table(handle: Handle, name: str) -> pd.DataFrame | None:
    """Return one table of an analysis; None if it does not apply to the run."""
    path = handle.path() / TABLES / f"{name}.parquet"
    return read_table(path) if path.exists() else None


def few_columns(data: PreparedData, row_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the further columns with few distinct values, for some rows."""
    frame = data.train.frame.set_index("row_id")
    return few_valued(frame.loc[list(row_ids), "extra"].tolist())


def _selection(method: str, handle: Handle, attribution: Attribution) -> Selection:
    picks = read_selection(handle)
    row_of = {row_id: row for row, row_id in enumerate(attribution.row_ids)}
    known = picks["row_id"].isin(list(row_of))
    if not known.all():
        logger.warning(
            "%d of the %d picks of %s were screened out; they have no influence, so the "
            "analysis leaves them out",
            int((~known).sum()), len(picks), method,
        )  # fmt: skip
        picks = picks[known]
    column_of = {name: column for column, name in enumerate(attribution.validation_ids)}
    winners = [column_of.get(name, NO_COLUMN) for name in picks["winning_validation"]]
    return Selection(
        indices=np.array([row_of[row_id] for row_id in picks["row_id"]], dtype=np.int64),
        utilities=picks["utility"].to_numpy(dtype=np.float64),
        winning_columns=np.array(winners, dtype=np.int64),
        method=method,
        normalization="none",
        n_rows=len(row_of),
    )


def _stability(
    config: RunConfig, data: PreparedData, attribution: Attribution, progress: Progress
) -> dict[str, pd.DataFrame]:
    """Return the agreement of checkpoints, and the picks with one thing left out, if applicable."""
    method, kinds = config.selection.method, config.analysis.leave_out
    tables: dict[str, pd.DataFrame] = {}
    number = [of_warmup - 1 for of_warmup in attribution.checkpoint_numbers]  # tables count from 0
    if len(attribution.parts) > 1:
        agreement = checkpoint_agreement(attribution.parts)
        for side in ("first", "second"):
            agreement[side] = [number[place] for place in agreement[side]]
        tables["checkpoint_agreement"] = agreement
    if METHODS[method].needs != "influence":
        return tables  # no influence that could be left out
    request = selection_request(
        selection_config(config, method), data, attribution, method, representations={}
    )
    if "checkpoint" in kinds and len(attribution.parts) > 1:
        without = leave_out_checkpoints(
            request,
            per_checkpoint=attribution.parts,
            weights=attribution.checkpoint_weights,
        )
        without["left_out"] = [number[place] for place in without["left_out"]]
        tables["without_checkpoint"] = without
    several = {
        "task": len(set(attribution.tasks)) > 1,
        "instance": len(attribution.validation_ids) > 1,
    }
    for kind, applies in several.items():
        if kind in kinds and applies:
            tables[f"without_{kind}"] = leave_one_out(request, by=kind, progress=progress)
    return tables
