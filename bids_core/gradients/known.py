"""Features put together from stored rows and newly computed ones.

A row's feature at a checkpoint depends only on the row, never on its batch, so one from an earlier
shard can be used again.

Shapes: n rows, P projected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from bids_core.gradients.features import Features
from bids_core.gradients.store import StoredShard

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Known:
    """Rows to reuse from an earlier shard.

    Args:
        folder: the Zarr group of the shard.
        rows: their indices in the shard.
        places: their indices among the rows that are wanted.
        eps_dominated_share: of the shard.
    """

    folder: Path
    rows: tuple[int, ...]
    places: tuple[int, ...]
    eps_dominated_share: float | None


def put_together(
    row_ids: Sequence[str], known: Sequence[Known], computed: Features | None
) -> Features:
    """Return the features of some rows, in their order.

    Args:
        row_ids: of all rows that are wanted.
        known: the rows that earlier shards hold.
        computed: the others, by their ids; None if none was missing. Rows without a feature in it
            are left out.

    Raises:
        ArtifactError: a stored shard is damaged.
    """
    found: dict[int, tuple[torch.Tensor, float, float]] = {}
    shares: list[tuple[int, float]] = []
    for part in known:
        shard = StoredShard.open(part.folder)
        low, high = min(part.rows), max(part.rows) + 1
        units = torch.from_numpy(shard.rows(low, high))
        norms, losses = shard.column("norms"), shard.column("losses")
        for row, place in zip(part.rows, part.places, strict=True):
            found[place] = units[row - low], float(norms[row]), float(losses[row])
        if part.eps_dominated_share is not None:
            shares.append((len(part.rows), part.eps_dominated_share))
    if computed is not None:
        place_of = {row_ids[place]: place for place in range(len(row_ids)) if place not in found}
        for number, row_id in enumerate(computed.row_ids):
            found[place_of[row_id]] = (
                computed.values[number],
                float(computed.norms[number]),
                float(computed.losses[number]),
            )
        if computed.eps_dominated_share is not None:
            shares.append((len(computed.row_ids), computed.eps_dominated_share))
    places = sorted(found)
    total = sum(count for count, _ in shares)
    width = 0 if computed is None else computed.values.shape[1]
    return Features(
        values=torch.stack([found[place][0] for place in places])
        if places
        else torch.empty(0, width),
        norms=torch.tensor([found[place][1] for place in places]),
        losses=torch.tensor([found[place][2] for place in places]),
        row_ids=[row_ids[place] for place in places],
        nonfinite_row_ids=[] if computed is None else computed.nonfinite_row_ids,
        eps_dominated_share=sum(n * share for n, share in shares) / total if total else None,
        n_tokens=0 if computed is None else computed.n_tokens,
        seconds=0.0 if computed is None else computed.seconds,
    )
