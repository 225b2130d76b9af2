"""Adam's moments at a checkpoint: the state of the optimizer that ran.

D is the number of trainable parameters, in the order of `model.named_parameters()`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bids_core.artifacts import read_small_json
from bids_core.errors import ArtifactError
from bids_core.formatting import brief

if TYPE_CHECKING:
    from collections.abc import Mapping

_TENSORS: Final = "optimizer.safetensors"
_SCALARS: Final = "optimizer.json"


@dataclass(frozen=True)
class AdamMoments:
    """State of the AdamW optimizer at the end of an epoch.

    Args:
        exp_avg: first moment m of each trainable parameter, by name, float32, in its shape.
        exp_avg_sq: second moment v, likewise.
        betas: decay rates of m and v in the optimizer.
        eps: Adam's epsilon in the optimizer.
        step: optimizer steps taken so far.
    """

    exp_avg: Mapping[str, torch.Tensor]
    exp_avg_sq: Mapping[str, torch.Tensor]
    betas: tuple[float, float]
    eps: float
    step: int

    def flat(self, names: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (m_D, v_D), float32, concatenated in the order of `names`.

        Raises:
            ArtifactError: the names differ from those in the optimizer.
        """
        missing = sorted(set(names) ^ set(self.exp_avg))
        if missing:
            msg = (
                f"the optimizer state and the model differ in {len(missing)} parameters, the first "
                f"being {missing[0]!r}; load the adapter that was trained with this state"
            )
            raise ArtifactError(msg)
        first = torch.cat([self.exp_avg[name].reshape(-1) for name in names])
        second = torch.cat([self.exp_avg_sq[name].reshape(-1) for name in names])
        return first, second

    def of(self, names: list[str]) -> AdamMoments:
        """Return the state of some of the parameters.

        Raises:
            ArtifactError: the optimizer had no parameter of such a name.
        """
        unknown = [name for name in names if name not in self.exp_avg]
        if unknown:
            msg = f"the optimizer state has no parameter {unknown[0]!r}"
            raise ArtifactError(msg)
        return replace(
            self,
            exp_avg={name: self.exp_avg[name] for name in names},
            exp_avg_sq={name: self.exp_avg_sq[name] for name in names},
        )

    def save(self, folder: Path) -> None:
        """Write `optimizer.safetensors` and `optimizer.json`."""
        tensors = {f"exp_avg.{name}": value.contiguous() for name, value in self.exp_avg.items()}
        tensors |= {
            f"exp_avg_sq.{name}": value.contiguous() for name, value in self.exp_avg_sq.items()
        }
        save_file(tensors, folder / _TENSORS)
        scalars = {"betas": list(self.betas), "eps": self.eps, "step": self.step}
        (folder / _SCALARS).write_text(json.dumps(scalars, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> AdamMoments:
        """Read what `save` wrote.

        Raises:
            ArtifactError: it is missing or damaged.
        """
        try:
            scalars = read_small_json(folder / _SCALARS)
            tensors = load_file(folder / _TENSORS)
            beta1, beta2 = map(float, scalars["betas"])
            eps, step = float(scalars["eps"]), int(scalars["step"])
            parts: dict[str, dict[str, torch.Tensor]] = {"exp_avg": {}, "exp_avg_sq": {}}
            for key, value in tensors.items():
                kind, name = key.split(".", 1)
                parts[kind][name] = value
        except (
            OSError, ValueError, TypeError, LookupError, AttributeError, OverflowError,
            RecursionError, SafetensorError,
        ) as error:  # fmt: skip
            msg = f"the optimizer state in {folder} cannot be read ({brief(error)}); train again"
            raise ArtifactError(msg) from error
        first, second = parts["exp_avg"], parts["exp_avg_sq"]
        if {n: t.shape for n, t in first.items()} != {n: t.shape for n, t in second.items()}:
            msg = f"the moments in {folder} differ in names or shapes; train again"
            raise ArtifactError(msg)
        return cls(first, second, (beta1, beta2), eps, step)
