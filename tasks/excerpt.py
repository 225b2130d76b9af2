"""Stage `attribution` in another form: the rows a screen keeps, taken out of a full matrix.

The result is what a run computes for those rows alone, if a row's influence depends on no other
row. `bids plan` tries many screens on one sample, and takes each one's influence from the sample's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bids_core.artifacts import Draft, Handle, Identity
from bids_core.config import RunConfig
from bids_core.gradients import TRAINING_FEATURES
from bids_core.influence.derived import write_excerpt
from bids_core.influence.stored import open_attribution
from tasks.attribution import MATRIX
from tasks.runtime.stage import stage_task
from tasks.screen import screened_rows

if TYPE_CHECKING:
    from bids_core.progress import Progress

VERSION: Final = 1


def rows_stand_alone(config: RunConfig) -> bool:
    """Return whether a row's influence depends on no other row of the pool."""
    section = config.gradients
    return section.metric != "fisher" and not TRAINING_FEATURES[section.train_feature].curvature


def identify(config: RunConfig, matrix: Handle, screen: Handle) -> Identity:  # noqa: ARG001
    """Return the identity of the excerpt: a matrix, and the rows taken from it."""
    return Identity(
        "attribution",
        VERSION,
        config={},
        inputs={"excerpt_of": matrix.fingerprint, "screen": screen.fingerprint},
        uses=(matrix.key, screen.key),
    )


def compute(
    config: RunConfig,  # noqa: ARG001 - the matrix has it all
    matrix: Handle,
    screen: Handle,
    *,
    draft: Draft,
    progress: Progress,
) -> None:
    """Take the rows out of the matrix."""
    whole = open_attribution(matrix.path() / MATRIX)
    kept = write_excerpt(
        draft.path / MATRIX,
        whole,
        screened_rows(screen)["row_id"],
        pool_rows=int(screen.summary()["pool_rows"]),
    )
    draft.summary |= matrix.summary()
    progress(len(kept), len(kept))


run_excerpt = stage_task(
    "attribution", identify, compute, label="excerpt", unit="rows", task_run_name="excerpt"
)
