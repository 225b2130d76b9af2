"""The Adam update that one example's gradient would cause (LESS section 3.1, definition 3.1).

Two forms, which differ widely where v is small (v is often near 1e-13 while eps is 1e-8):
    less_code   m' / sqrt(v' + eps), no bias correction: what the public LESS code runs;
    paper       m'_hat / (sqrt(v'_hat) + eps), bias-corrected at the checkpoint's step t,
with m' = b1 m + (1 - b1) g, v' = b2 v + (1 - b2) g^2, m'_hat = m' / (1 - b1^t) and
v'_hat = v' / (1 - b2^t), as LESS writes them (t counts the updates that m and v already hold).

Shapes: B batch, D parameters (or the coordinates of one parameter).
"""

from __future__ import annotations

from typing import Literal

import torch

AdamMode = Literal["less_code", "paper"]


def adam_update(
    grads_BD: torch.Tensor,
    exp_avg_D: torch.Tensor,
    exp_avg_sq_D: torch.Tensor,
    *,
    betas: tuple[float, float],
    eps: float,
    step: int,
    mode: AdamMode = "less_code",
) -> torch.Tensor:
    """Return the update direction of each example's gradient.

    Args:
        grads_BD: [B, D] float32 gradients; not changed.
        exp_avg_D: [D] first moment m of the optimizer that ran.
        exp_avg_sq_D: [D] second moment v.
        betas: decay rates of m and v, from the optimizer.
        eps: Adam's epsilon, from the optimizer.
        step: updates the optimizer has made, at least 1 (used by `paper` only).
        mode: `less_code` or `paper`, see the module's docstring.

    Returns:
        [B, D] float32.

    Source: LESS definition 3.1; `less_code` after its public implementation.
    """
    terms = AdamTerms(exp_avg_D, exp_avg_sq_D, betas=betas, eps=eps, step=step, mode=mode)
    return terms.update(grads_BD.float())


class AdamTerms:
    """The parts of the update that do not depend on the example, computed once per checkpoint.

    Args: as `adam_update`.
    """

    def __init__(
        self,
        exp_avg_D: torch.Tensor,
        exp_avg_sq_D: torch.Tensor,
        *,
        betas: tuple[float, float],
        eps: float,
        step: int,
        mode: AdamMode = "less_code",
    ) -> None:
        beta1, beta2 = betas
        correction1, correction2 = 1.0, 1.0
        if mode == "paper":
            if step < 1:
                msg = f"the paper's bias correction needs at least one optimizer step, not {step}"
                raise ValueError(msg)
            correction1, correction2 = 1 - beta1**step, 1 - beta2**step
        elif mode != "less_code":
            msg = f"adam mode must be less_code or paper, not {mode!r}"
            raise ValueError(msg)
        self.mode = mode
        self._eps = eps
        self._m_D = exp_avg_D.float() * (beta1 / correction1)
        self._v_D = exp_avg_sq_D.float() * (beta2 / correction2)
        if mode == "less_code":
            self._v_D += eps
        self._grad_scale = (1 - beta1) / correction1
        self._square_scale = (1 - beta2) / correction2

    def update(self, grads_BD: torch.Tensor) -> torch.Tensor:
        """Return the update direction, [B, D] float32."""
        inverse_BD = self._inverse_root(self._denominator(grads_BD))
        return torch.add(self._m_D, grads_BD, alpha=self._grad_scale).mul_(inverse_BD)

    def update_(self, grads_BD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Replace float32 gradients with their update direction.

        Returns:
            The changed `grads_BD`, and how many entries of its first row have a denominator
            dominated by eps: v' < eps for `less_code`, sqrt(v'_hat) < eps for `paper` (as a
            tensor, to avoid waiting for the device).
        """
        v_BD = self._denominator(grads_BD)
        limit = 2 * self._eps if self.mode == "less_code" else self._eps**2
        n_dominated = (v_BD[0] < limit).sum()
        torch.add(self._m_D, grads_BD, alpha=self._grad_scale, out=grads_BD)
        return grads_BD.mul_(self._inverse_root(v_BD)), n_dominated

    def _denominator(self, grads_BD: torch.Tensor) -> torch.Tensor:
        """Return v' + eps for `less_code`, v'_hat for `paper`."""
        return torch.addcmul(self._v_D, grads_BD, grads_BD, value=self._square_scale)

    def _inverse_root(self, v_BD: torch.Tensor) -> torch.Tensor:
        if self.mode == "less_code":
            return v_BD.rsqrt_()
        return v_BD.sqrt_().add_(self._eps).reciprocal_()
