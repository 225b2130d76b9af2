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


@pytest.mark.parametrize(("n", "fraction", "size"), [(100, 0.05, 5), (100, 1.0, 100), (3, 0.01, 1)])
def test_the_sample_has_the_asked_size_and_depends_on_the_seed(n, fraction, size):
    sample = warmup_sample(n, fraction, seed=0)
    assert len(np.unique(sample)) == size
    assert np.array_equal(sample, np.sort(sample))
    assert np.array_equal(sample, warmup_sample(n, fraction, seed=0))
    if 1 < size < n:
        assert not np.array_equal(sample, warmup_sample(n, fraction, seed=1))


def test_checkpoints_hold_adapter_and_moments_of_their_epoch(tiny_model_folder, tmp_path):
    config = ModelConfig(path=str(tiny_model_folder), dtype="float32", device="cpu")
    model = add_lora(load_base(config), LoraConfig(r=4, alpha=8, dropout=0.0), seed=0)
    ids = np.arange(5, 15, dtype=np.int32)
    labels = np.where(np.arange(10) < 5, -100, ids).astype(np.int32)
    examples = [TokenizedExample(f"r{i}", ids + i, np.where(labels < 0, -100, labels + i))
                for i in range(6)]  # fmt: skip
    summary = warmup(
        model, examples, WarmupConfig(epochs=2, batch_size=2, learning_rate=1e-2, fraction=0.67),
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
