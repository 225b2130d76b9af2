"""Losses of held-out rows: one forward pass, without generation.

Shapes: H held-out rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from bids_core.data.batches import collate, token_budget_batches
from bids_core.errors import NonFiniteError
from bids_core.gradients.plan import deterministic
from bids_core.models.loss import LabelRows, example_losses, output_head
from bids_core.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from bids_core.records import TokenizedExample


@torch.no_grad()
def completion_losses(
    model: nn.Module,
    examples: Sequence[TokenizedExample],
    *,
    tokens_per_batch: int = 2048,
    pad_token_id: int = 0,
    on_progress: Progress = silent,
) -> npt.NDArray[np.float64]:
    """Return the mean completion loss of each example in nats, with dropout off.

    Args:
        model: causal language model.
        examples: H examples, each with at least one completion token.
        tokens_per_batch: padded tokens in a batch; affects only the speed.
        pad_token_id: id to pad with.
        on_progress: called with the number of examples done.

    Returns:
        [H] float64.

    Raises:
        DataError: an example has no completion token.
        NonFiniteError: a loss is NaN or infinite.
    """
    device = next(model.parameters()).device
    head = output_head(model)
    losses_H = np.empty(len(examples))
    done = 0
    with deterministic(model):
        for places in token_budget_batches([e.n_tokens for e in examples], tokens_per_batch):
            batch = collate([examples[p] for p in places], pad_token_id=pad_token_id)
            batch = {name: value.to(device) for name, value in batch.items()}
            found = example_losses(model, batch, LabelRows.of(batch["labels"]), head=head)
            losses_H[places] = found.double().cpu().numpy()
            done += len(places)
            on_progress(done, len(examples))
    bad = np.flatnonzero(~np.isfinite(losses_H))
    if len(bad):
        named = ", ".join(repr(examples[int(place)].row_id) for place in bad[:10])
        msg = f"the loss of {len(bad)} held-out rows is NaN or infinite: {named}"
        raise NonFiniteError(msg)
    return losses_H
