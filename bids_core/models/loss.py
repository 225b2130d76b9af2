"""One loss per example, with logits computed only where a label is.

The loss of an example is the mean cross-entropy of its completion tokens (label t is predicted from
position t-1, Hugging Face's convention). If the data gives its turns weights, it is the weighted
mean: sum of w_t nll_t over sum of w_t. The hidden states that predict a label are picked right
before the output head, so whatever the model does after its head (soft capping, scaling, casting)
still happens, but on [1, n, V] logits instead of [B, T, V].

Shapes: B batch, T tokens, V vocabulary, n label positions of the whole batch, H hidden size.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from bids_core.errors import DataError
from bids_core.records import IGNORED_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import nn

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class LabelRows:
    """The positions of a batch that predict a label.

    Args:
        example: [n] int64, the example each position belongs to, ascending.
        position: [n] int64, its position within the example.
        target: [n] int64, the label to predict.
        rank: [n] int64, 0, 1, 2 … within the example.
        counts: [B] int64, labels of each example.
        weights: [n] float32, weight of each label; None if all weigh the same.
    """

    example: torch.Tensor
    position: torch.Tensor
    target: torch.Tensor
    rank: torch.Tensor
    counts: torch.Tensor
    weights: torch.Tensor | None = None

    @classmethod
    def of_batch(cls, batch: Mapping[str, torch.Tensor]) -> LabelRows:
        """Find the positions of a batch's labels, with their weights if it has some."""
        return cls.of(batch["labels"], batch.get("weights"))

    @classmethod
    def of(cls, labels_BT: torch.Tensor, weights_BT: torch.Tensor | None = None) -> LabelRows:
        """Find the positions of a batch's labels.

        Args:
            labels_BT: labels, `IGNORED_LABEL` where there is none.
            weights_BT: weight of each label.

        Raises:
            DataError: an example has no label, so that its loss and gradient are undefined.
        """
        shifted = labels_BT[:, 1:]
        example, position = (shifted != IGNORED_LABEL).nonzero(as_tuple=True)
        counts = torch.bincount(example, minlength=len(labels_BT))
        if not bool((counts > 0).all()):
            empty = (counts == 0).nonzero().flatten().tolist()
            msg = f"rows {empty} of the batch have no completion token; leave such examples out"
            raise DataError(msg)
        starts = torch.cumsum(counts, 0) - counts
        rank = torch.arange(len(example), device=example.device) - starts[example]
        weights = None if weights_BT is None else weights_BT[:, 1:][example, position]
        return cls(example, position, shifted[example, position], rank, counts, weights)

    @property
    def totals(self) -> torch.Tensor:
        """[B] divisor of the summed token losses: number or total weight of an example's labels."""
        if self.weights is None:
            return self.counts
        zeros = self.weights.new_zeros(len(self.counts))
        return zeros.index_add(0, self.example, self.weights)

    def to(self, device: torch.device) -> LabelRows:
        """Return the same positions on another device (a model may span several)."""
        if self.example.device == device:
            return self
        return LabelRows(
            example=self.example.to(device),
            position=self.position.to(device),
            target=self.target.to(device),
            rank=self.rank.to(device),
            counts=self.counts.to(device),
            weights=None if self.weights is None else self.weights.to(device),
        )


def causal_lm(model: nn.Module) -> nn.Module:
    """Return the Hugging Face model, unwrapped from PEFT or data parallelism where necessary."""
    if isinstance(model, torch.nn.parallel.DistributedDataParallel):
        model = model.module
    inner = getattr(model, "get_base_model", None)
    return inner() if callable(inner) else model


def output_head(model: nn.Module) -> nn.Module | None:
    """Return the module that turns hidden states into logits, None if the model has none."""
    getter = getattr(causal_lm(model), "get_output_embeddings", None)
    return getter() if callable(getter) else None


def example_losses(
    model: nn.Module, batch: Mapping[str, torch.Tensor], rows: LabelRows, *, head: nn.Module | None
) -> torch.Tensor:
    """Return each example's mean completion loss.

    Args:
        model: a causal language model, possibly wrapped by PEFT.
        batch: `input_ids`, `attention_mask`, `labels`, each [B, T].
        rows: the label positions of `batch`.
        head: output head before which the rows are picked; None computes all logits.

    Returns:
        [B] float32, differentiable.
    """
    inputs = model_inputs(model, batch)
    if head is None:
        logits = model(**inputs).logits
        rows = rows.to(logits.device)
        logits = logits[rows.example, rows.position]
    else:
        with _rows_picked_before(head, rows):
            logits = model(**inputs).logits[0]
        rows = rows.to(logits.device)
    tokens = F.cross_entropy(logits.float(), rows.target, reduction="none")
    if rows.weights is not None:
        tokens = tokens * rows.weights
    sums = tokens.new_zeros(len(rows.counts)).index_add(0, rows.example, tokens)
    return sums / rows.totals


def model_inputs(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return the arguments of a forward pass: no labels, no cache.

    If all padding is on the right, no mask is passed: a causal model never looks at the padding,
    and attention without a mask has faster kernels. Otherwise positions are counted over real
    tokens, so that padding on the left does not shift them.
    """
    mask = batch["attention_mask"]
    inputs: dict[str, Any] = {"input_ids": batch["input_ids"]}
    accepted = inspect.signature(causal_lm(model).forward).parameters
    if not _padded_on_the_right(mask):
        inputs["attention_mask"] = mask
        if "position_ids" in accepted:
            inputs["position_ids"] = (mask.long().cumsum(1) - 1).clamp(min=0)
    if "use_cache" in accepted:
        inputs["use_cache"] = False
    if _wants_token_types(model, accepted):
        inputs["token_type_ids"] = torch.zeros_like(batch["input_ids"])
    return inputs


def _wants_token_types(model: nn.Module, accepted: Mapping[str, Any]) -> bool:
    """Return whether a model in training must be told that all its input is text.

    In some releases of transformers, multimodal Gemma 3 refuses to train without the argument. To a
    text model (GPT-2) the same argument means something else.
    """
    if not model.training or "token_type_ids" not in accepted:
        return False
    config: Any = causal_lm(model).config
    return config.get_text_config() is not config


def _padded_on_the_right(mask_BT: torch.Tensor) -> bool:
    """Return whether every row is ones, followed by zeros if any."""
    return bool((mask_BT[:, 1:] <= mask_BT[:, :-1]).all())


@contextmanager
def _rows_picked_before(head: nn.Module, rows: LabelRows) -> Iterator[None]:
    def pick(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden_BTH = args[0]
        here = rows.to(hidden_BTH.device)
        return (hidden_BTH[here.example, here.position].unsqueeze(0), *args[1:])

    handle = head.register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()
