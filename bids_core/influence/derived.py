"""Attribution matrices made from another: some of its rows, or a pool inferred from landmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bids_core.gradients.store import create_array, write_array
from bids_core.influence.attribution import BLOCK_BYTES
from bids_core.influence.stored import ERROR, LABELS, LANDMARK, new_group
from bids_core.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bids_core.gradients.store import GradientStore
    from bids_core.influence.landmarks import Landmarks
    from bids_core.influence.stored import Attribution


def write_excerpt(
    out: Path, whole: Attribution, row_ids: Iterable[str], *, pool_rows: int | None = None
) -> list[str]:
    """Write the influence of some rows, in the order of the whole matrix.

    Args:
        out: Zarr group to write.
        whole: the matrix; parts of its checkpoints are left out.
        row_ids: the rows; those not in the matrix are left out.
        pool_rows: size of the pool they were picked from; None if they are the whole pool.

    Returns:
        The ids of the rows that were written.

    Raises:
        ArtifactError: a chunk is lost or damaged.
    """
    wanted = set(row_ids)
    rows = [row for row, row_id in enumerate(whole.row_ids) if row_id in wanted]
    kept = [whole.row_ids[row] for row in rows]
    values = np.ascontiguousarray(whole.values()[rows])
    attributes: dict[str, Any] = {"checkpoint_numbers": list(whole.checkpoint_numbers)}
    if pool_rows is not None:
        attributes["pool_rows"] = pool_rows
    group = new_group(out, kept, _labels(whole), whole.checkpoint_weights, attributes)
    matrix = create_array(
        group, "attribution", shape=values.shape, dtype="float32",
        dimensions=("train", "validation"), chunk_rows=max(1, len(rows)),
    )  # fmt: skip
    matrix[:] = values
    return kept


def write_inferred(
    out: Path,
    known: Attribution,
    fitted: Landmarks,
    store: GradientStore,
    *,
    on_progress: Progress = silent,
) -> None:
    """Write the attribution matrix of a whole pool, inferred from that of its landmarks.

    The landmarks keep their own influence. The array `landmark` holds the index of each row's
    landmark (its own index for a landmark), `expected_error` how far off its influence is expected
    to be.

    Args:
        out: Zarr group to write.
        known: the landmarks' influence; its rows are among the store's.
        fitted: what `fit_landmarks` returned for it.
        store: representations of the whole pool, in order.
        on_progress: called with how many rows are done.

    Raises:
        ArtifactError: a chunk is lost or damaged.
    """
    place = {row_id: row for row, row_id in enumerate(store.row_ids)}
    exact = {place[row_id]: values for row_id, values in zip(
        known.row_ids, known.values(), strict=True
    )}  # fmt: skip
    attributes = {"checkpoint_numbers": list(known.checkpoint_numbers)}
    group = new_group(out, store.row_ids, _labels(known), known.checkpoint_weights, attributes)
    shape = (store.n_rows, len(known.tasks))
    block = max(1, BLOCK_BYTES // (4 * max(store.dim, shape[1])))
    matrix = create_array(group, "attribution", shape=shape, dtype="float32",
                          dimensions=("train", "validation"), chunk_rows=block)  # fmt: skip
    error = np.zeros(store.n_rows, dtype=np.float32)
    landmark = np.zeros(store.n_rows, dtype=np.int64)
    rows_of_landmarks = np.array([place[row_id] for row_id in known.row_ids], dtype=np.int64)
    for start in range(0, store.n_rows, block):
        stop = min(start + block, store.n_rows)
        nearest, error[start:stop] = fitted.nearest(store.rows(start, stop))
        landmark[start:stop] = rows_of_landmarks[nearest]
        values = fitted.influence[nearest].astype(np.float32)
        for row in range(start, stop):
            if row in exact:
                values[row - start], error[row], landmark[row] = exact[row], 0.0, row
        matrix[start:stop] = values
        on_progress(stop, store.n_rows)
    write_array(group, ERROR, error, dimensions=("train",))
    write_array(group, LANDMARK, landmark, dimensions=("train",))


def _labels(matrix: Attribution) -> dict[str, list[str]]:
    return {name: getattr(matrix, name) for name in LABELS}
