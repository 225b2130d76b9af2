"""Log-probabilities of given tokens: held-out answer loss, and scores of choices.

Logits are computed in the model's dtype, the log-softmax in float32.

Shapes: B rows in a batch, T tokens, K positions kept (from the first scored token on).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from bids_core.data.batches import token_budget_batches
from bids_core.evaluation.cache import cache_plan
from bids_core.evaluation.reading import left_padded, read
from bids_core.progress import silent
from bids_core.records import IGNORED_LABEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from transformers import PreTrainedModel

    from bids_core.progress import Progress
    from bids_core.records import TokenizedExample


@dataclass(frozen=True, slots=True)
class Scored:
    """Log-likelihood of the labelled tokens of one example.

    Args:
        log_likelihood: sum over the labelled tokens, natural logarithm.
        n_tokens: number of labelled tokens.
        is_greedy: whether each of them is the most likely next token.
        weighted_loss: mean token loss with the example's weights; None if all weights are equal.
    """

    log_likelihood: float
    n_tokens: int
    is_greedy: bool
    weighted_loss: float | None = None

    @property
    def loss(self) -> float:
        """Mean token loss, as in training."""
        plain = self.weighted_loss is None
        return -self.log_likelihood / self.n_tokens if plain else float(self.weighted_loss or 0.0)


def answer_losses(
    model: PreTrainedModel,
    examples: Sequence[TokenizedExample],
    *,
    tokens_per_batch: int,
    on_progress: Progress = silent,
) -> npt.NDArray[np.float64]:
    """Return the mean token cross-entropy over the completion tokens of each example.

    It is weighted if the example has weights, as in training.
    """
    scored = log_likelihoods(
        model, examples, tokens_per_batch=tokens_per_batch, on_progress=on_progress
    )
    return np.array([row.loss for row in scored])


@torch.inference_mode()
def log_likelihoods(
    model: PreTrainedModel,
    examples: Sequence[TokenizedExample],
    *,
    tokens_per_batch: int,
    on_progress: Progress = silent,
) -> list[Scored]:
    """Score the labelled tokens of each example, given all tokens before them.

    Args:
        model: in evaluation mode, on its device.
        examples: what to score; each has at least one label.
        tokens_per_batch: padded tokens in one forward pass.
        on_progress: called with (examples done, all).

    Returns:
        One `Scored` per example, in the given order.
    """
    results: dict[int, Scored] = {}
    lengths = [example.n_tokens for example in examples]
    size = rows_of_a_batch(model, lengths)
    for batch in token_budget_batches(lengths, tokens_per_batch, max_batch=size):
        rows = [examples[index] for index in batch]
        results.update(zip(batch, _score_batch(model, rows), strict=True))
        on_progress(len(results), len(examples))
    return [results[index] for index in range(len(examples))]


def rows_of_a_batch(model: PreTrainedModel, lengths: Sequence[int]) -> int | None:
    """Return the maximum rows in a batch: 1 if padding changes the model's scores, else None."""
    return None if cache_plan(model, longest=max(lengths, default=0)).pads else 1


def _score_batch(model: PreTrainedModel, rows: Sequence[TokenizedExample]) -> list[Scored]:
    ids_BT, mask_BT = left_padded([row.input_ids for row in rows], device=model.device)
    labels = [torch.from_numpy(row.labels.astype(np.int64)) for row in rows]
    # The logits at position t predict token t+1: keep one position before the first label.
    kept = max(len(row) - int((row != IGNORED_LABEL).nonzero()[0]) + 1 for row in labels)
    kept = min(kept, ids_BT.shape[1])
    logits_BKV, _ = read(model, ids_BT, mask_BT, keep=kept, remember=False)
    weights = [None if row.weights is None else torch.from_numpy(row.weights) for row in rows]
    return [
        score_row(logits_KV, row, weights=weights_T)
        for logits_KV, row, weights_T in zip(logits_BKV, labels, weights, strict=True)
    ]


def score_row(
    logits_KV: torch.Tensor, labels: torch.Tensor, *, weights: torch.Tensor | None = None
) -> Scored:
    """Score the labelled tokens of one row.

    Args:
        logits_KV: logits at its last K positions, each predicting the next token; if the row is
            shorter than K, only the last positions are used.
        labels: [T] int64, `IGNORED_LABEL` where nothing is scored.
        weights: [T] float32, weight of each label in the loss; None for equal weights.
    """
    targets = labels[1:][-(logits_KV.shape[0] - 1) :].to(logits_KV.device)
    predicting = logits_KV[:-1][-len(targets) :]
    is_label = targets != IGNORED_LABEL
    log_probabilities = torch.log_softmax(predicting[is_label].float(), dim=-1)
    targets = targets[is_label]
    picked = log_probabilities.gather(1, targets[:, None])[:, 0].double()
    greedy = bool((log_probabilities.argmax(dim=-1) == targets).all())
    loss = None
    if weights is not None:
        counted = weights[1:][-len(is_label) :].to(picked.device)[is_label].double()
        loss = float(-(picked * counted).sum() / counted.sum())
    return Scored(float(picked.sum()), len(targets), greedy, loss)
