from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bids_core.config import LoraConfig, ModelConfig, WarmupConfig
from bids_core.errors import ConfigError
from bids_core.models.adapters import add_lora
from bids_core.models.load import load_adapter, load_base
from bids_core.records import TokenizedExample
from bids_core.training.moments import AdamMoments
from bids_core.training.warmup import (
    checkpoint_weights,
    save_checkpoint,
    warmup,
    warmup_sample,
)


def test_weights_are_the_mean_learning_rates_normalised():
    # epoch means 3 and 1, so 3/4 and 1/4
    assert checkpoint_weights([2.0, 4.0, 1.5, 0.5], [0, 0, 1, 1]) == [0.75, 0.25]


def test_a_learning_rate_of_zero_everywhere_is_refused():
    with pytest.raises(ConfigError, match="learning rate"):
        checkpoint_weights([0.0, 0.0], [0, 1])


def keys(n):
    return [f"{number:032x}" for number in range(n)]


@pytest.mark.parametrize(("n", "fraction"), [(5_000, 0.05), (5_000, 0.5), (100, 1.0), (3, 0.01)])
def test_the_sample_has_about_the_asked_size_and_depends_on_the_seed(n, fraction):
    sample = warmup_sample(keys(n), fraction, seed=0)
    spread = (n * fraction * (1 - fraction)) ** 0.5
    assert len(np.unique(sample)) == len(sample)
    assert abs(len(sample) - max(1, n * fraction)) <= 4 * spread
    assert np.array_equal(sample, np.sort(sample))
    assert np.array_equal(sample, warmup_sample(keys(n), fraction, seed=0))
    if 1 < len(sample) < n:
        assert not np.array_equal(sample, warmup_sample(keys(n), fraction, seed=1))


def test_rows_stay_in_or_out_whatever_joins_or_leaves():
    old = keys(400)
    mixed = keys(450)[400:] + old[:100] + old[150:]  # joined in front, left in the middle
    before = {old[i] for i in warmup_sample(old, 0.3, seed=4)}
    after = {mixed[i] for i in warmup_sample(mixed, 0.3, seed=4)}
    both = set(old) & set(mixed)
    assert before & both == after & both


def test_equal_rows_are_drawn_one_by_one():
    sample = warmup_sample(["a"] * 1_000, 0.5, seed=0)
    assert 400 < len(sample) < 600


def test_checkpoints_hold_adapter_and_moments_of_their_epoch(tiny_model_folder, tmp_path):
    config = ModelConfig(path=str(tiny_model_folder), dtype="float32", device="cpu")
    model = add_lora(load_base(config), LoraConfig(r=4, alpha=8, dropout=0.0), seed=0)
    ids = np.arange(5, 15, dtype=np.int32)
    labels = np.where(np.arange(10) < 5, -100, ids).astype(np.int32)
    examples = [TokenizedExample(f"r{i}", ids + i, np.where(labels < 0, -100, labels + i))
                for i in range(6)]  # fmt: skip
    summary = warmup(
        model, examples[:4], WarmupConfig(epochs=2, batch_size=2, learning_rate=1e-2),
        pad_token_id=0, seed=0, folder=tmp_path / "out", scratch=tmp_path / "scratch",
    )  # fmt: skip
    assert summary["n_rows"] == 4
    assert sum(summary["checkpoint_weights"]) == pytest.approx(1.0)
    files = sorted(p.name for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl"))]
    for number, step in ((1, 2), (2, 4)):
        folder = tmp_path / "out" / f"checkpoint-{number}"
        moments = AdamMoments.load(folder)
        assert moments.step == step
        loaded = load_adapter(config, folder, trainable=True)
        names = [name for name, p in loaded.named_parameters() if p.requires_grad]
        first, second = moments.flat(names)
        assert bool((second >= 0).all())
        assert bool(first.any())
    last = load_file(tmp_path / "out" / "checkpoint-2" / "adapter_model.safetensors")
    trained = dict(model.named_parameters())
    for name, value in last.items():
        full = name.replace("lora_A.weight", "lora_A.default.weight")
        full = full.replace("lora_B.weight", "lora_B.default.weight")
        assert torch.equal(value, trained[full])


def test_parameters_that_never_got_a_gradient_have_moments_of_their_own(
    tiny_model_folder, tmp_path
):
    config = ModelConfig(path=str(tiny_model_folder), dtype="float32", device="cpu")
    model = add_lora(load_base(config), LoraConfig(r=2), seed=0)
    unused = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    save_checkpoint(tmp_path / "out", model, unused)
    moments = AdamMoments.load(tmp_path / "out")
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert not any(part.any() for part in moments.flat(names))
