"""The Adam update against torch's own optimizer and against the formulas written out."""

from __future__ import annotations

import pytest
import torch

from bids_core.gradients import adam_update

BETAS, EPS = (0.8, 0.95), 1e-6


def moments(size=300):
    torch.manual_seed(0)
    grads = 10 ** torch.empty(4, size).uniform_(-9, 0) * torch.randn(4, size).sign()
    return grads, 1e-3 * torch.randn(size), 10 ** torch.empty(size).uniform_(-13, -3)


def test_less_code_is_its_formula():
    grads, m, v = moments()
    got = adam_update(grads, m, v, betas=BETAS, eps=EPS, step=5, mode="less_code")
    g, m, v = grads.double(), m.double(), v.double()
    expected = (0.8 * m + 0.2 * g) / (0.95 * v + 0.05 * g**2 + EPS).sqrt()
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=0)


def test_paper_is_its_formula():
    grads, m, v = moments()
    got = adam_update(grads, m, v, betas=BETAS, eps=EPS, step=5, mode="paper")
    g, m, v = grads.double(), m.double(), v.double()
    first = (0.8 * m + 0.2 * g) / (1 - 0.8**5)
    second = (0.95 * v + 0.05 * g**2) / (1 - 0.95**5)
    torch.testing.assert_close(got.double(), first / (second.sqrt() + EPS), rtol=1e-5, atol=0)


def test_paper_is_the_step_torch_would_make():
    """After s steps torch's next update has exponent s + 1, hence `step=6` after five."""
    torch.manual_seed(1)
    parameter = torch.nn.Parameter(torch.randn(50, dtype=torch.float64))
    optimizer = torch.optim.AdamW([parameter], lr=1.0, betas=BETAS, eps=EPS, weight_decay=0.0)
    for _ in range(5):
        parameter.grad = torch.randn(50, dtype=torch.float64)
        optimizer.step()
    state = {k: v.clone() for k, v in optimizer.state[parameter].items()}
    grad, before = torch.randn(50, dtype=torch.float64), parameter.detach().clone()
    parameter.grad = grad
    optimizer.step()
    got = adam_update(
        grad[None].float(), state["exp_avg"].float(), state["exp_avg_sq"].float(),
        betas=BETAS, eps=EPS, step=int(state["step"]) + 1, mode="paper",
    )[0]  # fmt: skip
    torch.testing.assert_close(got.double(), before - parameter.detach(), rtol=1e-4, atol=1e-6)


def test_examples_do_not_mix_and_inputs_are_not_changed():
    grads, m, v = moments()
    copies = grads.clone(), m.clone(), v.clone()
    whole = adam_update(grads, m, v, betas=BETAS, eps=EPS, step=1)
    for row in range(len(grads)):
        one = adam_update(grads[row : row + 1], m, v, betas=BETAS, eps=EPS, step=1)
        torch.testing.assert_close(one[0], whole[row], rtol=1e-6, atol=0)
    assert all(torch.equal(a, b) for a, b in zip((grads, m, v), copies, strict=True))


def test_bad_arguments():
    grads, m, v = moments()
    with pytest.raises(ValueError, match="less_code or paper"):
        adam_update(grads, m, v, betas=BETAS, eps=EPS, step=1, mode="adam")
    with pytest.raises(ValueError, match="at least one optimizer step"):
        adam_update(grads, m, v, betas=BETAS, eps=EPS, step=0, mode="paper")
