from __future__ import annotations

import pytest
import torch

from bids_core.errors import ArtifactError
from bids_core.training.moments import AdamMoments


def moments():
    return AdamMoments(
        exp_avg={"a": torch.arange(4.0).reshape(2, 2), "b": torch.tensor([9.0])},
        exp_avg_sq={"a": torch.full((2, 2), 1e-13), "b": torch.tensor([4.0])},
        betas=(0.9, 0.99),
        eps=1e-6,
        step=7,
    )


def test_saved_moments_come_back_exactly(tmp_path):
    moments().save(tmp_path)
    back = AdamMoments.load(tmp_path)
    assert (back.betas, back.eps, back.step) == ((0.9, 0.99), 1e-6, 7)
    for name in ("a", "b"):
        assert torch.equal(back.exp_avg[name], moments().exp_avg[name])
        assert torch.equal(back.exp_avg_sq[name], moments().exp_avg_sq[name])


def test_flat_follows_the_given_order():
    first, second = moments().flat(["b", "a"])
    assert first.tolist() == [9.0, 0.0, 1.0, 2.0, 3.0]
    assert second[0] == 4.0


def test_other_parameters_are_refused_by_name():
    with pytest.raises(ArtifactError, match="'c'"):
        moments().flat(["a", "b", "c"])
