"""Some rows of an attribution matrix, as a matrix of their own.

Where a row's influence depends on no other row, this is what computing them alone would give.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from bids_core.gradients.store import create_array, write_array

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bids_core.influence.attribution import Attribution


def write_excerpt(
    out: Path, whole: Attribution, row_ids: Iterable[str], *, pool_rows: int | None = None
) -> list[str]:
    """Write the influence of some rows, in the order of the whole matrix.

    Args:
        out: Zarr group to write.
        whole: the matrix; parts of its checkpoints are left out.
        row_ids: the rows; those that it does not have are left out.
        pool_rows: rows of the pool that they were picked from; None: they stand for themselves.

    Returns:
        The ids of the rows that were written.

    Raises:
        ArtifactError: a chunk is lost or damaged.
    """
    wanted = set(row_ids)
    rows = [row for row, row_id in enumerate(whole.row_ids) if row_id in wanted]
    kept = [whole.row_ids[row] for row in rows]
    values = np.ascontiguousarray(whole.values()[rows])
    group = zarr.open_group(out, mode="w-", zarr_format=3)
    attributes: dict[str, Any] = {
        "checkpoint_weights": whole.checkpoint_weights,
        "checkpoint_numbers": list(whole.checkpoint_numbers),
    }
    if pool_rows is not None:
        attributes["pool_rows"] = pool_rows
    group.attrs.update(attributes)
    write_array(group, "row_ids", kept, dimensions=("train",))
    for name in ("validation_ids", "tasks", "capabilities", "subtasks"):
        write_array(group, name, getattr(whole, name), dimensions=("validation",))
    matrix = create_array(
        group, "attribution", shape=values.shape, dtype="float32",
        dimensions=("train", "validation"), chunk_rows=max(1, len(rows)),
    )  # fmt: skip
    matrix[:] = values
    return kept
