"""Other libraries' estimators on the benchmarks' models and data; needs the `bench` extra.

dattri-llm has LESS's feature. dattri, bergson and traker have no Adam update: they use the plain
gradient, projected in their own way. Each function uses the model's current parameters.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bids_core.data import collate
from bids_core.gradients import trainable_slots
from bids_core.records import IGNORED_LABEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.records import TokenizedExample

Matrix = np.ndarray[Any, np.dtype[np.float64]]


class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Examples as dictionaries for a data loader."""

    def __init__(self, examples: Sequence[TokenizedExample]) -> None:
        batch = collate(examples, pad_token_id=0)
        self._rows = [{k: v[i] for k, v in batch.items()} for i in range(len(examples))]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self._rows[index]


def summed_loss(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Sum over the batch of each example's mean loss; for equal lengths B times the mean."""
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


def dattri_gradients(
    model: torch.nn.Module, batches: Sequence[dict[str, torch.Tensor]], dim: int
) -> list[torch.Tensor]:
    """Return dattri's projected plain gradients of each batch, as used in its TracIn."""
    from dattri.func.projection import random_project
    from dattri.task import AttributionTask

    def loss(params: dict[str, torch.Tensor], data: Any) -> torch.Tensor:
        ids, labels = data
        inputs = {"input_ids": ids[None], "use_cache": False}
        logits = torch.func.functional_call(model, params, (), inputs).logits[0, :-1]
        return torch.nn.functional.cross_entropy(logits.float(), labels[1:])

    names = [name for name, p in model.named_parameters() if p.requires_grad]
    task = AttributionTask(loss_func=loss, model=model, checkpoints=model.state_dict())
    gradients = task.get_grad_loss_func(in_dims=(None, 0), layer_name=names, ckpt_idx=0)
    parameters, _ = task.get_param(ckpt_idx=0, layer_name=names)
    found = []
    for batch in batches:
        grads_BD = gradients(parameters, (batch["input_ids"], batch["labels"]))
        size = len(grads_BD)
        project = random_project(
            grads_BD, size, proj_dim=dim, proj_max_batch_size=8, device="cpu", proj_seed=0
        )
        found.append(project(grads_BD, ensemble_id=0))
    return found


def traker_gradients(
    model: torch.nn.Module, batches: Sequence[dict[str, torch.Tensor]], dim: int
) -> list[torch.Tensor]:
    """Return traker's projected plain gradients of each batch; on a CPU it uses a loop."""
    from trak.gradient_computers import FunctionalGradientComputer
    from trak.modelout_functions import AbstractModelOutput
    from trak.projectors import BasicProjector, ProjectionType

    class Loss(AbstractModelOutput):
        def __init__(self) -> None:
            super().__init__()

        @staticmethod
        def get_output(model: Any, weights: Any, buffers: Any, ids: Any, labels: Any) -> Any:
            inputs = {"input_ids": ids[None], "use_cache": False}
            logits = torch.func.functional_call(model, (weights, buffers), (), inputs).logits
            return torch.nn.functional.cross_entropy(logits[0, :-1].float(), labels[1:])

        def get_out_to_loss_grad(self, *_: Any) -> Any:
            raise NotImplementedError

    names = [name for name, p in model.named_parameters() if p.requires_grad]
    size = sum(p.numel() for p in model.parameters() if p.requires_grad)
    device = torch.device("cpu")
    computer = FunctionalGradientComputer(model, Loss(), size, torch.float32, device, names)
    project = BasicProjector(size, dim, 0, ProjectionType.rademacher, device, block_size=512)
    found = []
    for batch in batches:
        grads = computer.compute_per_sample_grad((batch["input_ids"], batch["labels"]))
        flat_BD = torch.cat([grads[name].flatten(1).float() for name in names], dim=1)
        found.append(project.project(flat_BD, model_id=0))
    return found


def bergson_gradients(
    model: torch.nn.Module,
    examples: Sequence[TokenizedExample],
    plan: Sequence[Sequence[int]],
    *,
    side: int = 16,
) -> dict[str, torch.Tensor]:
    """Return bergson's plain gradients, each layer projected to `side` x `side` from both sides."""
    from bergson import CollectorComputer, GradientProcessor, InMemoryCollector
    from bergson.config.config import IndexConfig
    from datasets import Dataset

    data = Dataset.from_dict(
        {
            "input_ids": [example.input_ids.tolist() for example in examples],
            "labels": [example.labels.tolist() for example in examples],
            "length": [example.n_tokens for example in examples],
        }
    )
    layers = {slot.name.removesuffix(".weight") for slot in trainable_slots(model)}
    with tempfile.TemporaryDirectory() as folder:
        config = IndexConfig(run_path=f"{folder}/run")
        Path(f"{folder}/run.part").mkdir()
        collector = InMemoryCollector(
            model=model, data=data, cfg=config, target_modules=layers,
            processor=GradientProcessor(projection_dim=side),
        )  # fmt: skip
        batches = [list(rows) for rows in plan]
        CollectorComputer(
            model, data, collector=collector, batches=batches, cfg=config
        ).run_with_collector_hooks()
    return dict(collector.gradients)
