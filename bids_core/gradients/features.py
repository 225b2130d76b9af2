"""Projected gradient features of many examples: the work of one shard of the gradient stage.

Shapes: n examples, P projected, B batch, T tokens, D parameters, d coordinates of one parameter.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch

from bids_core.data.batches import collate, token_budget_batches
from bids_core.errors import DataError, NonFiniteError
from bids_core.gradients.extraction import (
    Extractor,
    GradientExtractor,
    RepresentationExtractor,
)
from bids_core.gradients.training_features import TRAINING_FEATURES
from bids_core.models.memory import free_memory, is_out_of_memory
from bids_core.progress import Progress, silent
from bids_core.records import IGNORED_LABEL, TokenizedExample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from bids_core.gradients.ekfac import Ekfac
    from bids_core.gradients.optimizer_update import AdamMode
    from bids_core.gradients.projection import Projector
    from bids_core.training.moments import AdamMoments

logger = logging.getLogger(__name__)

_NORM_QUANTILES: Final = (0.01, 0.5, 0.99)


@dataclass(frozen=True)
class Features:
    """Features of the examples that have one, in the order given.

    Args:
        values: [n, P] float32, projected, not normalised.
        norms: [n] float32, lengths of the rows of `values`.
        losses: [n] float32, mean completion loss of each example.
        row_ids: their ids.
        nonfinite_row_ids: ids of the examples left out for a NaN or infinite loss or gradient.
        eps_dominated_share: share of Adam denominators dominated by eps, counted over the first
            example of every batch; None without Adam.
        n_tokens: tokens of all examples.
        seconds: time taken.
    """

    values: torch.Tensor
    norms: torch.Tensor
    losses: torch.Tensor
    row_ids: list[str]
    nonfinite_row_ids: list[str]
    eps_dominated_share: float | None
    n_tokens: int
    seconds: float

    def norm_quantiles(self) -> dict[str, float]:
        """Return quantiles of the lengths, by name (0.01, 0.5, 0.99); empty without rows."""
        if not len(self.norms):
            return {}
        found = np.quantile(self.norms.numpy(), _NORM_QUANTILES)
        return {f"{q:g}": float(value) for q, value in zip(_NORM_QUANTILES, found, strict=True)}


def compute_features(
    model: nn.Module,
    examples: Sequence[TokenizedExample],
    *,
    feature: str,
    projector: Projector | None = None,
    moments: AdamMoments | None = None,
    adam_mode: AdamMode = "less_code",
    curvature: Ekfac | None = None,
    options: dict[str, Any] | None = None,
    tokens_per_batch: int = 2048,
    pad_token_id: int = 0,
    on_nonfinite: Literal["error", "reject"] = "error",
    on_progress: Progress = silent,
) -> Features:
    """Return the projected gradient feature of each example.

    Batches hold examples of similar length and at most `tokens_per_batch` padded tokens; a batch
    that does not fit in memory is halved. Apart from the [n, P] result, memory does not depend on
    the number of examples.

    Args:
        model: causal language model with trainable (LoRA) parameters.
        examples: tokenized examples, each with a completion token.
        feature: one of `TRAINING_FEATURES`.
        projector: random projection of D coordinates; not needed for hidden states.
        moments: state of the optimizer that ran; needed for `adam`.
        adam_mode: `less_code` or `paper`.
        curvature: the fitted Fisher matrix; needed for `ekfac`.
        options: further values the feature reads (`Feature.options`).
        tokens_per_batch: padded tokens in one batch.
        pad_token_id: token that pads the batches (never seen by the model's attention).
        on_nonfinite: at a NaN or infinite loss or gradient, stop, or list the example and continue.
        on_progress: called with how many examples are done.

    Returns:
        The features of the examples that have one.

    Raises:
        DataError: an example has no completion token.
        NonFiniteError: a loss or gradient is not finite, and `on_nonfinite` is `error`.
        ArtifactError: the moments belong to other parameters.
    """
    _require_completions(examples)
    started = time.perf_counter()
    extract: Extractor
    chosen = TRAINING_FEATURES[feature]
    if chosen.hidden_states:
        extract = RepresentationExtractor(model, feature)
    elif projector is None:
        msg = f"the {feature} feature needs a projector"
        raise ValueError(msg)
    else:
        options = {"adam_mode": adam_mode} | (options or {})
        extract = GradientExtractor(model, projector, feature, moments, options, curvature)
    values = torch.empty(len(examples), extract.width)
    losses = torch.empty(len(examples))
    done = 0
    lengths = [example.n_tokens for example in examples]
    for rows in token_budget_batches(lengths, tokens_per_batch):
        _fill(extract, examples, rows, pad_token_id, values, losses)
        if on_nonfinite == "error":
            _require_finite(values, losses, examples, rows)
        done += len(rows)
        on_progress(done, len(examples))
    finite = torch.isfinite(losses) & torch.isfinite(values).all(1)
    kept = finite.nonzero().flatten().tolist()
    values, losses = (values, losses) if len(kept) == len(values) else (values[kept], losses[kept])
    return Features(
        values=values,
        norms=values.norm(dim=1),
        losses=losses,
        row_ids=[examples[i].row_id for i in kept],
        nonfinite_row_ids=[examples[i].row_id for i in (~finite).nonzero().flatten().tolist()],
        eps_dominated_share=extract.eps_dominated_share,
        n_tokens=sum(lengths),
        seconds=time.perf_counter() - started,
    )


def _require_completions(examples: Sequence[TokenizedExample]) -> None:
    empty = [e.row_id for e in examples if not (e.labels[1:] != IGNORED_LABEL).any()]
    if empty:
        shown = ", ".join(repr(row_id) for row_id in empty[:10])
        msg = (
            f"{len(empty)} examples have no completion token, the first being {shown}; they have "
            "no gradient, so leave them out before this stage"
        )
        raise DataError(msg)


def _require_finite(
    values: torch.Tensor,
    losses: torch.Tensor,
    examples: Sequence[TokenizedExample],
    rows: list[int],
) -> None:
    finite = torch.isfinite(losses[rows]) & torch.isfinite(values[rows]).all(1)
    bad = [
        examples[row].row_id for row, good in zip(rows, finite.tolist(), strict=True) if not good
    ]
    if bad:
        msg = (
            f"the loss or gradient of {len(bad)} examples is NaN or infinite: "
            f"{', '.join(repr(row_id) for row_id in bad[:10])}; look at the warmup loss, use "
            "model.dtype float32, or set gradients.on_nonfinite to reject to leave them out"
        )
        raise NonFiniteError(msg)


def _fill(
    extract: Extractor,
    examples: Sequence[TokenizedExample],
    rows: list[int],
    pad_token_id: int,
    values: torch.Tensor,
    losses: torch.Tensor,
) -> None:
    """Compute a batch; halve it if memory runs out."""
    batch = collate([examples[row] for row in rows], pad_token_id=pad_token_id)
    try:
        losses_B, values_BP = extract(batch)
        losses[rows], values[rows] = losses_B.cpu(), values_BP.cpu()
        return
    except (RuntimeError, MemoryError) as error:
        if len(rows) == 1 or not is_out_of_memory(error):
            raise
        logger.warning("out of memory with %d examples in a batch; trying half", len(rows))
    free_memory()
    for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        _fill(extract, examples, half, pad_token_id, values, losses)
