"""Stage `selection`: the picks of one method, best first."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import pandas as pd
from prefect.runtime import task_run

from bids_core.artifacts import Draft, Handle, Identity
from bids_core.config import RunConfig, SelectionMethod
from bids_core.config.slices import sliced
from bids_core.data import read_table
from bids_core.influence.normalization import ColumnWarning
from bids_core.influence.stored import open_attribution
from bids_core.selection import METHODS, make_request, resolve_budget, run_request
from bids_core.selection.names import method_name
from tasks.attribution import MATRIX
from tasks.identity import selection_config, with_method
from tasks.prepare import load_prepared
from tasks.representations import Representations, signal_identity, signal_keys, signals
from tasks.runtime.stage import stage_task

if TYPE_CHECKING:
    from bids_core.data import PreparedData
    from bids_core.influence.stored import Attribution
    from bids_core.progress import Progress
    from bids_core.selection import Request

logger = logging.getLogger(__name__)

VERSION: Final = 1
SELECTION: Final = "selection.parquet"


def identify(
    config: RunConfig,
    data: Handle,
    matrix: Handle,
    method: SelectionMethod,
    representations: Mapping[str, Representations] | None = None,
) -> Identity:
    """Return the identity of a method's picks."""
    config = selection_config(config, method)
    values = with_method(sliced(config, "selection"), method)
    if not METHODS[method].seeded:
        del values["seed"]
    return Identity(
        "selection",
        VERSION,
        config=values,
        inputs={
            "attribution": matrix.fingerprint,
            "sources": data.summary()["digests"]["sources"],
            **signal_identity(method, data, representations or {}),
        },
        seed=config.seed,
        uses=(data.key, matrix.key, *signal_keys(method, representations or {})),
    )


def compute(
    config: RunConfig,
    data: Handle,
    matrix: Handle,
    method: SelectionMethod,
    representations: Mapping[str, Representations] | None = None,
    *,
    draft: Draft,
    progress: Progress,
) -> None:
    """Select the budget's worth of rows with one method.

    Args:
        config: the run.
        data: the prepared data.
        matrix: the attribution matrix.
        method: the method.
        representations: by pooling, for the methods that need them (`tasks.representations`).
        draft: where the picks are written.
        progress: called as picks are made.
    """
    config = selection_config(config, method)
    attribution = open_attribution(matrix.path() / MATRIX)
    prepared = load_prepared(data)
    row_ids = candidates(prepared, attribution, method)
    sources = row_sources(prepared, row_ids)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ColumnWarning)
        selection = run_request(
            selection_request(config, prepared, attribution, method, representations or {})
        )
    draft.summary["warnings"] = [str(warning.message) for warning in caught]
    for message in draft.summary["warnings"]:
        logger.warning("%s", message)
    picks = selection.to_frame(
        row_ids=row_ids,
        sources=sources,
        validation_ids=attribution.validation_ids,
        tasks=attribution.tasks,
    )
    picks.to_parquet(draft.path / SELECTION, index=False)
    draft.summary |= {"method": selection.method, "n_selected": len(picks), "n_pool": len(sources)}
    draft.summary["per_source"] = json.loads(picks["source"].value_counts().to_json())
    progress(len(picks), len(picks))


run_selection = stage_task(
    "selection",
    identify,
    compute,
    label=lambda arguments: f"selection {method_name(arguments['method'])}",
    task_run_name=lambda: f"selection {method_name(task_run.parameters['method'])}",
)


def selection_request(
    config: RunConfig,
    data: PreparedData,
    attribution: Attribution,
    method: str,
    representations: Mapping[str, Representations],
) -> Request:
    """Return the request of a method's selection, the same for everyone who selects again.

    Args:
        config: from `tasks.identity.selection_config`.
        data: the prepared data.
        attribution: the matrix.
        method: the method.
        representations: by pooling, for the methods that need them.
    """
    row_ids = candidates(data, attribution, method)
    budget = config.selection.budget
    if attribution.screened:  # a share is of the whole pool
        budget = resolve_budget(budget, attribution.pool_rows)
    return make_request(
        attribution.matrix if row_ids is attribution.row_ids else None,
        budget,
        method=method,
        normalization=config.selection.normalization,
        tasks=attribution.tasks,
        subtasks=attribution.subtasks,
        sources=row_sources(data, row_ids),
        row_ids=row_ids,
        validation_ids=attribution.validation_ids,
        seed=config.seed,
        **signals(method, data, representations, row_ids),
    )


def candidates(data: PreparedData, attribution: Attribution, method: str) -> list[str]:
    """Return the rows from which a method chooses: those that have influence.

    If rows were screened out, methods that need no influence still choose from the whole pool.
    """
    if METHODS[method].needs == "influence":
        return attribution.row_ids
    return pool_ids(data, attribution)


def pool_ids(data: PreparedData, attribution: Attribution) -> list[str]:
    """Return the pool's rows: those in the matrix, and those that a screen left out."""
    return data.train.row_ids if attribution.screened else attribution.row_ids


def row_sources(data: PreparedData, row_ids: Sequence[str]) -> list[str]:
    """Return the source of each row of the matrix."""
    frame = data.train.frame.set_index("row_id")
    return [str(source) for source in frame.loc[list(row_ids), "source"]]


def read_selection(handle: Handle) -> pd.DataFrame:
    """Return the picks of a selection artifact, best first."""
    return read_table(handle.path() / SELECTION)
