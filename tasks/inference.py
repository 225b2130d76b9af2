"""Stage `inference`: the influence of a whole pool, inferred from that of its landmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bids_core.artifacts import Draft, Handle, Identity
from bids_core.config import RunConfig
from bids_core.gradients import open_store
from bids_core.influence.derived import write_inferred
from bids_core.influence.landmarks import fit_landmarks
from bids_core.influence.matrix import Matrix
from bids_core.influence.stored import open_attribution
from tasks.attribution import MATRIX
from tasks.gradients import FEATURES
from tasks.representations import Representations
from tasks.runtime.stage import stage_task
from tasks.screen import POOLING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bids_core.progress import Progress

VERSION: Final = 3


def identify(
    config: RunConfig,  # noqa: ARG001 - the matrix has it all
    data: Handle,
    matrix: Handle,
    states: Mapping[str, Representations],
) -> Identity:
    """Return the identity of the inferred matrix: landmarks' influence and all hidden states."""
    shards = states[POOLING].train
    return Identity(
        "inference",
        VERSION,
        config={},
        inputs={
            "attribution": matrix.fingerprint,
            "train": data.summary()["digests"]["train"],
            "representations": [shard.fingerprint for shard in shards],
        },
        uses=(data.key, matrix.key, *(shard.key for shard in shards)),
    )


def compute(
    config: RunConfig,  # noqa: ARG001 - as `identify`
    data: Handle,  # noqa: ARG001
    matrix: Handle,
    states: Mapping[str, Representations],
    *,
    draft: Draft,
    progress: Progress,
) -> None:
    """Infer the influence of all rows from the landmarks'."""
    known = open_attribution(matrix.path() / MATRIX)
    store = open_store([shard.path() / FEATURES for shard in states[POOLING].train])
    place = {row_id: row for row, row_id in enumerate(store.row_ids)}
    landmarks = [place[row_id] for row_id in known.row_ids]
    fitted = fit_landmarks(Matrix(store).take(landmarks), known.values())
    write_inferred(draft.path / MATRIX, known, fitted, store, on_progress=progress)
    draft.summary |= matrix.summary() | {
        "landmarks": len(landmarks),
        "pool_rows": store.n_rows,
        "agreement": fitted.median_agreement(),
        "agreement_by_task": fitted.agreement_by_task(known.tasks),
    }


run_inference = stage_task("inference", identify, compute, unit="rows")
