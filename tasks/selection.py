"""Stage `selection`: the picks of one method, best first."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import pandas as pd

from bids_core.artifacts import ArtifactStore, Draft, Handle
from bids_core.config import RunConfig, SelectionMethod
from bids_core.influence.attribution import open_attribution
from bids_core.influence.normalization import ColumnWarning
from bids_core.selection import METHODS, select
from tasks.attribution import MATRIX
from tasks.identity import selection_seed
from tasks.prepare import load_prepared
from tasks.representations import Representations, signal_identity, signals
from tasks.runtime.stage import Stage, run_stage, stage_task

if TYPE_CHECKING:
    from bids_core.progress import Progress

logger = logging.getLogger(__name__)

VERSION: Final = 1
SELECTION: Final = "selection.parquet"


@stage_task("selection", task_run_name="selection {method}")
def run_selection(
    config: RunConfig,
    data: Handle,
    matrix: Handle,
    method: SelectionMethod,
    representations: Mapping[str, Representations] | None = None,
) -> Handle:
    """Select the budget's worth of rows with one method.

    Args:
        config: the run.
        data: the prepared data.
        matrix: the attribution matrix.
        method: the method.
        representations: by pooling, for the methods that need them (`tasks.representations`).
    """
    section = config.selection
    stage = Stage(
        "selection",
        VERSION,
        config={
            "method": method,
            "budget": section.budget,
            "normalization": section.normalization,
            "seed": selection_seed(config) if METHODS[method].seeded else None,
        },
        inputs={
            "attribution": matrix.fingerprint,
            "sources": data.summary()["digests"]["sources"],
            **signal_identity(method, data, representations or {}),
        },
        seed=selection_seed(config),
    )

    def compute(draft: Draft, progress: Progress) -> None:
        attribution = open_attribution(matrix.path() / MATRIX)
        prepared = load_prepared(data)
        frame = prepared.train.frame.set_index("row_id")
        sources = frame.loc[list(attribution.row_ids), "source"].tolist()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ColumnWarning)
            selection = select(
                attribution.matrix,
                section.budget,
                method=method,
                normalization=section.normalization,
                tasks=attribution.tasks,
                subtasks=attribution.subtasks,
                sources=sources,
                row_ids=attribution.row_ids,
                validation_ids=attribution.validation_ids,
                seed=selection_seed(config),
                **signals(method, prepared, representations or {}, attribution.row_ids),
            )
        draft.summary["warnings"] = [str(warning.message) for warning in caught]
        for message in draft.summary["warnings"]:
            logger.warning("%s", message)
        picks = selection.to_frame(
            row_ids=attribution.row_ids,
            sources=sources,
            validation_ids=attribution.validation_ids,
            tasks=attribution.tasks,
        )
        picks.to_parquet(draft.path / SELECTION, index=False)
        draft.summary |= {"method": method, "n_selected": len(picks), "n_pool": len(sources)}
        draft.summary["per_source"] = json.loads(picks["source"].value_counts().to_json())
        progress(len(picks), len(picks))

    label = f"selection {method}"
    return run_stage(ArtifactStore(config.store), stage, compute, label=label)


def read_selection(handle: Handle) -> pd.DataFrame:
    """Return the picks of a selection artifact, best first."""
    return pd.read_parquet(handle.path() / SELECTION)
