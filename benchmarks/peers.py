"""dattri-llm's estimators on the benchmarks' models and data; needs the `bench` extra.

Each function works at the parameters that the model holds now, on examples of equal length.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bids_core.data.batches import collate
from bids_core.gradients.parameters import trainable_slots
from bids_core.records import IGNORED_LABEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.records import TokenizedExample

Matrix = np.ndarray[Any, np.dtype[np.float64]]


class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Examples as the dictionaries a data loader stacks."""

    def __init__(self, examples: Sequence[TokenizedExample]) -> None:
        batch = collate(examples, pad_token_id=0)
        self._rows = [{k: v[i] for k, v in batch.items()} for i in range(len(examples))]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self._rows[index]


def summed_loss(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Sum over the batch of each example's mean loss; equal lengths make it a multiple."""
    loss: torch.Tensor = model(**batch, use_cache=False).loss * len(batch["labels"])
    return loss


def score(
    kind: str,
    model: torch.nn.Module,
    pool: Sequence[TokenizedExample],
    validation: Sequence[TokenizedExample],
    *,
    optimizer: torch.optim.Optimizer | None = None,
    damping: float = 0.1,
) -> Matrix:
    """Return dattri-llm's [N, M] scores by `less`, `tracin` or `ekfac`."""
    import dattri_llm as d

    model.eval()
    layers = {slot.name.removesuffix(".weight") for slot in trainable_slots(model)}
    config = d.HookManagerConfig(hook_types=dict.fromkeys(sorted(layers), "linear_io"))
    task = d.AttributionTask(loss_func=summed_loss, model=model)
    with tempfile.TemporaryDirectory() as folder:
        args = d.AttributionArguments(
            output_dir=folder, per_device_train_batch_size=64, per_device_eval_batch_size=64
        )
        if kind == "less":
            attributor = d.LESSAttributor(args, task=task, optimizers=[optimizer])
        elif kind == "tracin":
            attributor = d.TracInAttributor(args, task=task)
        else:
            attributor = d.EKFACAttributor(args, task=task)
        extra = {"damping": damping, "relative_damping": True} if kind == "ekfac" else {}
        found = attributor.attribute(Rows(pool), Rows(validation), hook_config=config, **extra)
        _, matrix = found.agnostic_matrix()
    return np.asarray(matrix, dtype=np.float64)


def example_mean_losses(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Sum over the batch of each example's mean completion loss, whatever the lengths."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"],
                   use_cache=False).logits[:, :-1]  # fmt: skip
    labels = batch["labels"][:, 1:]
    tokens = torch.nn.functional.cross_entropy(
        logits.float().transpose(1, 2), labels, reduction="none"
    )
    total: torch.Tensor = (tokens.sum(1) / (labels != IGNORED_LABEL).sum(1)).sum()
    return total


def adam_features(
    model: torch.nn.Module,
    batches: Sequence[dict[str, torch.Tensor]],
    optimizer: torch.optim.Optimizer,
) -> list[dict[str, torch.Tensor]]:
    """Return dattri-llm's Adam features of each batch, by layer, not projected."""
    import dattri_llm as d

    layers = {slot.name.removesuffix(".weight") for slot in trainable_slots(model)}
    config = d.HookManagerConfig(hook_types=dict.fromkeys(sorted(layers), "linear_io"))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for batch in batches:
            rows = [{k: v[i] for k, v in batch.items()} for i in range(len(batch["labels"]))]
            args = d.AttributionArguments(output_dir=folder)
            with d.GradientStreamer(
                model, rows, args, batch_size=len(rows), loss_fn=example_mean_losses,
                optimizer=optimizer, precondition=True, config=config,
            ) as streamer:  # fmt: skip
                found += [dict(block.materialize().data) for _, block, _ in streamer]
    return found
