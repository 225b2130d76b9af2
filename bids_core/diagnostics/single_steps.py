"""The effect of one optimizer step on the validation losses, compared with predictions.

From a checkpoint with parameters theta and Adam's moments m, v, one AdamW step on row i alone gives
theta_i = theta + delta_i. The measurement is the decrease of every validation loss,

    y_ij = L_j(theta) - L_j(theta_i),

with no gradient clipping and dropout off, in float32. Each prediction of y_ij (up to a factor that
does not depend on i) adds one approximation to the previous one, so the cost of each approximation
can be read off:

==============  ==================================================================================
`first_order`   -<delta_i, g_j>: the step's own first order; what is missing to y is curvature
`feature`       <Gamma_i, g_j>: Gamma_i is the feature that the run takes (`adam_mode` and all)
`cosine`        the same as a cosine
`layers`        the same in the last decoder layers alone (`gradients.layers`)
`projected`     the same after the random projection
`stored`        the same after being stored (float16, int8)
==============  ==================================================================================

Source: LESS (arXiv 2402.04333), section 2 (the first-order form) and definition 3.1 (Adam).

Shapes: n rows, M validation instances, D parameters, P projected dimensions, b rows in a block.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

import numpy as np
import numpy.typing as npt
import torch

from bids_core.diagnostics.held_out import completion_losses
from bids_core.gradients import (
    compute_features,
    make_projector,
    n_trainable,
    open_store,
    trainable_slots,
    write_shard,
)
from bids_core.gradients.features import Features
from bids_core.gradients.optimizer_update import AdamTerms
from bids_core.gradients.store import unit
from bids_core.models.adapters import last_layer_names
from bids_core.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from peft import PeftModel
    from torch import nn

    from bids_core.gradients.optimizer_update import AdamMode
    from bids_core.gradients.projection import Projector
    from bids_core.gradients.store import Storage
    from bids_core.records import TokenizedExample
    from bids_core.training.moments import AdamMoments

Floats = npt.NDArray[np.float64]
GradientFeature = Literal["adam", "sgd", "sign"]

MEASURED: Final = "measured"
BEFORE: Final = "before"
LADDER: Final = ("first_order", "feature", "cosine", "layers", "projected", "stored")
"""Predictions, from the exact first-order effect to the stored features."""
_BLOCK_BYTES: Final = 1 << 30
"""Bytes of unprojected gradients held at once, on either side."""


@dataclass(frozen=True)
class StepSettings:
    """How steps are taken, and how the run predicts their effect.

    Args:
        learning_rate: learning rate of the step.
        weight_decay: AdamW's, decoupled.
        feature: training feature: adam, sgd or sign; None for other features, which have only the
            prediction `first_order`.
        adam_mode: form of the adam feature.
        dot: whether the run uses dot products instead of cosines.
        layers: the run takes gradients in the last N decoder layers only; None for all layers.
        storage: dtype in which features are stored.
        tokens_per_batch: padded tokens in a batch; affects only the speed.
        pad_token_id: id to pad with.
    """

    learning_rate: float
    weight_decay: float = 0.0
    feature: GradientFeature | None = "adam"
    adam_mode: AdamMode = "less_code"
    dot: bool = False
    layers: int | None = None
    storage: Storage = "float16"
    tokens_per_batch: int = 2048
    pad_token_id: int = 0


def measure_steps(
    model: nn.Module,
    rows: Sequence[TokenizedExample],
    validation: Sequence[TokenizedExample],
    settings: StepSettings,
    *,
    moments: AdamMoments,
    projector: Projector,
    on_progress: Progress = silent,
) -> dict[str, Floats]:
    """Measure and predict the effect of a step on each row on each validation loss.

    The gradients of all validation instances are computed once for every block of rows whose
    unprojected gradients fit into 1 GiB, so wide adapters cost time, not memory.

    Args:
        model: causal language model in float32 with trainable (LoRA) parameters; unchanged
            afterwards.
        rows: n training rows.
        validation: M instances.
        settings: settings of the step and of the predictions.
        moments: Adam's state at the checkpoint.
        projector: the run's random projection.
        on_progress: called with the number of rows done.

    Returns:
        `measured` and the predictions of `LADDER` that apply, [n, M] float64 each, and `before`,
        [1, M]: the losses at the checkpoint. `measured` is the decrease of the loss in nats:
        positive if the step helps.

    Raises:
        NonFiniteError: a loss or gradient is not finite.
    """
    before_M = _losses(model, validation, settings)
    walker = _Stepper(model, moments, settings)
    found: dict[str, list[Floats]] = {}
    size = max(1, _BLOCK_BYTES // (8 * walker.n_parameters))
    done = 0
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        grads_bD = _gradients(model, block, settings)
        delta_bD = torch.empty_like(grads_bD)
        fallen = []
        for place, grad_D in enumerate(grads_bD):
            with walker.stepped(grad_D) as delta_D:
                delta_bD[place] = delta_D
                fallen.append(before_M - _losses(model, validation, settings))
            done += 1
            on_progress(done, len(rows))
        parts = {MEASURED: np.stack(fallen)}
        parts |= _predicted(model, grads_bD, delta_bD, validation, settings, moments, projector)
        for name, values in parts.items():
            found.setdefault(name, []).append(values)
    return {name: np.concatenate(parts) for name, parts in found.items()} | {BEFORE: before_M[None]}


class _Stepper:
    """Takes single AdamW steps from a checkpoint, and undoes them."""

    def __init__(self, model: nn.Module, moments: AdamMoments, settings: StepSettings) -> None:
        self._named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        moments.flat([name for name, _ in self._named])  # raises if names do not match
        self._moments = moments
        self._before = [parameter.detach().clone() for _, parameter in self._named]
        self._optimizer = torch.optim.AdamW(
            [parameter for _, parameter in self._named],
            lr=settings.learning_rate,
            betas=moments.betas,
            eps=moments.eps,
            weight_decay=settings.weight_decay,
        )
        self.n_parameters = sum(parameter.numel() for _, parameter in self._named)

    @contextmanager
    def stepped(self, grad_D: torch.Tensor) -> Iterator[torch.Tensor]:
        """Take a step for the duration of a block; yields the change of the parameters, [D]."""
        try:
            yield self._take(grad_D)
        finally:
            self._back()

    def _take(self, grad_D: torch.Tensor) -> torch.Tensor:
        for (name, parameter), piece in zip(self._named, self._split(grad_D), strict=True):
            parameter.grad = piece.view_as(parameter).to(parameter.device, parameter.dtype)
            self._optimizer.state[parameter] = {
                "step": torch.tensor(float(self._moments.step)),
                "exp_avg": self._moments.exp_avg[name].to(parameter.device, copy=True),
                "exp_avg_sq": self._moments.exp_avg_sq[name].to(parameter.device, copy=True),
            }
        self._optimizer.step()
        changes = zip(self._named, self._before, strict=True)
        return torch.cat([(p.detach() - old).reshape(-1).cpu() for (_, p), old in changes])

    @torch.no_grad()
    def _back(self) -> None:
        """Restore the parameters bit for bit."""
        for (_, parameter), old in zip(self._named, self._before, strict=True):
            parameter.copy_(old)
            parameter.grad = None

    def _split(self, grad_D: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.split(grad_D, [parameter.numel() for _, parameter in self._named])


def _losses(
    model: nn.Module, examples: Sequence[TokenizedExample], settings: StepSettings
) -> Floats:
    return completion_losses(
        model,
        examples,
        tokens_per_batch=settings.tokens_per_batch,
        pad_token_id=settings.pad_token_id,
    )


def _gradients(
    model: nn.Module, examples: Sequence[TokenizedExample], settings: StepSettings
) -> torch.Tensor:
    """Return the plain unprojected gradients, [b, D] float32 on the CPU."""
    return compute_features(
        model,
        examples,
        feature="sgd",
        projector=make_projector("none", n_trainable(model), 1, 0),
        tokens_per_batch=settings.tokens_per_batch,
        pad_token_id=settings.pad_token_id,
    ).values


def _predicted(
    model: nn.Module,
    grads_bD: torch.Tensor,
    delta_bD: torch.Tensor,
    validation: Sequence[TokenizedExample],
    settings: StepSettings,
    moments: AdamMoments,
    projector: Projector,
) -> dict[str, Floats]:
    """Return the predictions for a block of rows, [b, M] each."""
    feature_bD = _feature(model, grads_bD, settings, moments)
    kept_D = None if settings.layers is None else _kept(model, settings.layers)
    sides = _Sides(settings, projector, feature_bD, kept_D)
    columns: dict[str, list[Floats]] = {}
    for part in _blocks(validation, grads_bD.shape[1]):
        held_mD = _gradients(model, part, settings)
        parts = {"first_order": (-delta_bD @ held_mD.T).numpy().astype(np.float64)}
        parts |= sides.against(held_mD)
        for name, values in parts.items():
            columns.setdefault(name, []).append(values)
    return {name: np.concatenate(parts, axis=1) for name, parts in columns.items()}


def _blocks(
    examples: Sequence[TokenizedExample], n_parameters: int
) -> Iterator[Sequence[TokenizedExample]]:
    size = max(1, _BLOCK_BYTES // (4 * n_parameters))
    for start in range(0, len(examples), size):
        yield examples[start : start + size]


def _feature(
    model: nn.Module, grads_bD: torch.Tensor, settings: StepSettings, moments: AdamMoments
) -> torch.Tensor | None:
    if settings.feature is None:
        return None
    if settings.feature == "adam":
        m_D, v_D = moments.flat([n for n, p in model.named_parameters() if p.requires_grad])
        terms = AdamTerms(
            m_D, v_D, betas=moments.betas, eps=moments.eps, step=moments.step,
            mode=settings.adam_mode,
        )  # fmt: skip
        return terms.update(grads_bD)
    return grads_bD.sign() if settings.feature == "sign" else grads_bD


def _kept(model: nn.Module, layers: int) -> torch.Tensor:
    """Return which coordinates are in or after the last decoder layers, [D] bool."""
    names = set(last_layer_names(cast("PeftModel", model), layers))
    slots = trainable_slots(model)
    return torch.cat([torch.full((slot.numel,), slot.name in names) for slot in slots])


class _Sides:
    """The training side of each prediction, computed once per block."""

    def __init__(
        self,
        settings: StepSettings,
        projector: Projector,
        feature_bD: torch.Tensor | None,
        kept_D: torch.Tensor | None,
    ) -> None:
        self._settings, self._projector, self._kept_D = settings, projector, kept_D
        self._rows = None if feature_bD is None else self._forms(feature_bD)

    def against(self, held_mD: torch.Tensor) -> dict[str, Floats]:
        """Return the predictions against validation gradients, [b, m] each."""
        if self._rows is None:
            return {}
        held = self._forms(held_mD)
        return {
            name: (self._rows[name] @ values.T).astype(np.float64) for name, values in held.items()
        }

    def _forms(self, values_nD: torch.Tensor) -> dict[str, npt.NDArray[np.float32]]:
        last_nd = values_nD if self._kept_D is None else values_nD[:, self._kept_D]
        projected_nP = self._projector.project(last_nd)
        forms = {"feature": values_nD.numpy(), "projected": projected_nP.numpy()}
        if self._kept_D is not None:
            forms["layers"] = last_nd.numpy()
        if not self._settings.dot:
            names = [f"row {index}" for index in range(len(values_nD))]
            forms["cosine"] = unit(forms["feature"], row_ids=names)
            if self._kept_D is not None:
                forms["layers"] = unit(forms["layers"], row_ids=names)
            forms["projected"] = unit(forms["projected"], row_ids=names)
        forms["stored"] = self._stored(projected_nP)
        return forms

    def _stored(self, values_nP: torch.Tensor) -> npt.NDArray[np.float32]:
        """Return features as written and read back by the store's own code."""
        norms = values_nP.norm(dim=1)
        features = Features(
            values_nP, norms, torch.zeros(len(values_nP)),
            [f"row {index}" for index in range(len(values_nP))], [], None, 0, 0.0,
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "features.zarr"
            write_shard(folder, features, storage=self._settings.storage)
            unit_rows = open_store([folder]).rows(0, len(values_nP))
        return unit_rows * norms.numpy()[:, None] if self._settings.dot else unit_rows
