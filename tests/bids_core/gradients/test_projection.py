"""Statistical properties of the projections, and that pieces and devices do not matter.

The bug each statistical test is there for: a wrong scale, signs shared between coordinates, or two
coordinates that always meet in the same bucket (which leaves the mean right and the variance
wrong).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_core.gradients import make_projector, projection
from bids_core.gradients.hashing import hash64

FIRST_HASHES = [5197578548964807871, -6411193824288604561]
FIRST_SIGNS = [[1, 1, 1, 1, 1, 1, -1, 1], [1, 1, 1, 1, -1, 1, 1, -1], [-1, 1, 1, 1, 1, -1, 1, -1]]
RANDOM = ["rademacher", "sjlt", "srht"]


def matrix(kind, n, dim, seed):
    """Return S as a dense [dim, n] matrix, from the projection of the unit vectors."""
    return make_projector(kind, n, dim, seed).project(torch.eye(n)).T


@pytest.mark.parametrize("kind", RANDOM)
def test_pieces_add_up_to_the_whole(kind):
    torch.manual_seed(0)
    n, dim = 1000, 96
    grads = torch.randn(3, n)
    projector = make_projector(kind, n, dim, 5)
    whole = projector.project(grads)
    out = torch.zeros(3, dim)
    for start, stop in [(900, 1000), (0, 7), (7, 96), (96, 97), (97, 500), (500, 900)]:
        projector.add(out, grads[:, start:stop], offset=start)
    torch.testing.assert_close(out, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", RANDOM)
def test_linear_and_stable(kind):
    torch.manual_seed(0)
    x, y = torch.randn(2, 700), torch.randn(2, 700)
    projector = make_projector(kind, 700, 64, 1)
    again = make_projector(kind, 700, 64, 1)
    torch.testing.assert_close(
        projector.project(2 * x - y), 2 * again.project(x) - again.project(y),
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip
    other = make_projector(kind, 700, 64, 2).project(x)
    assert torch.nn.functional.cosine_similarity(projector.project(x), other).abs().max() < 0.9
    half = projector.project(x.to(torch.bfloat16))
    torch.testing.assert_close(half, projector.project(x.to(torch.bfloat16).float()))


def test_rademacher_matrix_is_signs_whatever_the_block(monkeypatch):
    from bids_core.gradients import projection

    whole = matrix("rademacher", 300, 70, 9) * 70**0.5
    torch.testing.assert_close(whole.abs(), torch.ones_like(whole))
    monkeypatch.setattr(projection, "_RADEMACHER_BLOCK", 70 * 11)
    torch.testing.assert_close(matrix("rademacher", 300, 70, 9) * 70**0.5, whole)
    balance = whole.mean()
    assert abs(balance) < 4 / (300 * 70) ** 0.5


def test_rademacher_first_signs_are_fixed():
    """A stored projection must stay comparable with one computed by a later version."""
    signs = make_projector("rademacher", 3, 8, 0).project(torch.eye(3)) * 8**0.5
    assert signs.round().int().tolist() == FIRST_SIGNS
    assert hash64(torch.tensor([0, 1]), seed=0).tolist() == FIRST_HASHES


def test_sjlt_puts_each_coordinate_into_one_bucket():
    dense = matrix("sjlt", 1000, 64, 3)
    assert ((dense != 0).sum(0) == 1).all()
    assert (dense.abs().sum(0) == 1).all()
    counts = (dense != 0).sum(1)
    assert counts.min() >= 1000 // 64
    assert counts.max() <= 1000 // 64 + 1


@pytest.mark.parametrize("gathered", [1, 200, 1 << 25])
@pytest.mark.parametrize(("n", "dim"), [(1000, 64), (640, 64), (50, 64), (999, 7)])
def test_sjlt_is_the_same_map_on_a_gpu(n, dim, gathered, monkeypatch):
    """What runs there is run here: it must send each coordinate where the CPU's way sends it."""
    monkeypatch.setattr(projection, "_GATHERED", gathered)
    torch.manual_seed(0)
    grads = torch.randn(3, n)
    projector = make_projector("sjlt", n, dim, 5)
    wanted = torch.zeros(3, dim)
    found = torch.zeros(3, dim)
    for start, stop in [(0, n), (0, 1), (n // 3, n), (n // 2 // dim * dim, n), (n - 1, n)]:
        projector._add_slices(wanted, grads[:, start:stop], start)
        projector._add_gathered(found, grads[:, start:stop], start)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_srht_of_one_block_is_a_rotation():
    dense = matrix("srht", 64, 64, 3)
    torch.testing.assert_close(dense.T @ dense, torch.eye(64), rtol=0, atol=1e-5)
    np.testing.assert_allclose(dense.abs().numpy(), 1 / 8, atol=1e-6)


@pytest.mark.parametrize("dim", [48, 64, 100, 7])
@pytest.mark.parametrize("kind", RANDOM)
def test_unbiased_with_no_more_variance_than_rademacher(kind, dim):
    """Mean and variance of <Sx, Sy> over 600 seeds; the variance of Rademacher is known."""
    rng = np.random.default_rng(0)
    n, trials = 400, 600
    x = torch.from_numpy(rng.standard_normal(n)).float()
    y = 0.5 * x + torch.from_numpy(rng.standard_normal(n)).float()
    true = float(x @ y)
    pair = torch.stack([x, y])
    estimates = np.array(
        [float(torch.prod(p, 0).sum()) for p in
         (make_projector(kind, n, dim, seed).project(pair) for seed in range(trials))]
    )  # fmt: skip
    expected = float((x @ x) * (y @ y) + (x @ y) ** 2 - 2 * (x**2 @ y**2)) / dim
    assert abs(estimates.mean() - true) < 4 * np.sqrt(expected / trials)
    # the sample variance of 600 near-normal draws is within 25% (four standard errors)
    assert estimates.var() < expected * 1.25
    if kind == "rademacher":
        assert estimates.var() > expected * 0.75


def test_none_keeps_everything():
    grads = torch.randn(2, 30)
    projector = make_projector("none", 30, 8192, 0)
    assert projector.dim == 30
    assert torch.equal(projector.project(grads), grads)


def test_bad_arguments():
    with pytest.raises(ValueError, match="rademacher, sjlt, srht, none"):
        make_projector("gauss", 10, 4, 0)
    with pytest.raises(ValueError, match="positive"):
        make_projector("sjlt", 10, 0, 0)
    with pytest.raises(ValueError, match=r"\[B, 10\]"):
        make_projector("sjlt", 10, 4, 0).project(torch.ones(2, 9))
