"""The callback in the training runs that docs/warmups.md shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import foreign_trainings as foreign
import pytest
import torch

from bids_core.config import ModelConfig, WarmupConfig
from bids_core.errors import ConfigError
from bids_core.training import WarmupCallback
from bids_core.training.external import examine

PAGE = Path(__file__).parents[3] / "docs" / "warmups.md"


def test_the_pages_training_by_trl_leaves_a_warmup(tiny_model_folder, tmp_path, monkeypatch):
    pytest.importorskip("trl")
    monkeypatch.chdir(tmp_path)
    rows = "".join(json.dumps(row) + "\n" for row in foreign.ROWS)
    (tmp_path / "train.jsonl").write_text(rows)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    block = next(block for block in blocks if "SFTTrainer" in block)
    block = block.replace("MODEL", str(tiny_model_folder))
    block = block.replace("SFTConfig(", "SFTConfig(use_cpu=True, bf16=False, ")  # no GPU here
    exec(block, {"__name__": "page"})  # noqa: S102
    kept = WarmupConfig(checkpoints="outputs/warmup")
    model = ModelConfig(path=str(tiny_model_folder), dtype="float32", device="cpu")
    found = examine(model, kept, needs_moments=True)
    assert found.steps == (2, 4)
    assert len(found.schedule.losses) == 4


def test_checkpoints_by_steps(tiny_model_folder, tmp_path):
    live = foreign.run_trainer(
        tiny_model_folder, tmp_path, save_strategy="no",
        callbacks=[WarmupCallback("kept", every_steps=2)],
    )  # fmt: skip
    model = ModelConfig(path=str(tiny_model_folder), dtype="float32", device="cpu")
    kept = WarmupConfig(checkpoints=str(tmp_path / "kept"))
    found = examine(model, kept, needs_moments=True)
    assert found.steps == (2, 4, 6)
    true = [rate for part in live.rates for rate in part]
    assert found.schedule.learning_rates == pytest.approx(true)
    assert found.schedule.epochs == [0, 0, 1, 1, 2, 2]


def test_an_optimizer_that_hides_its_state_is_refused(tiny_model_folder, tmp_path):
    """As DeepSpeed's does; zeros would be taken for moments."""
    from bids_core.models.adapters import add_lora
    from bids_core.models.load import load_base

    config = ModelConfig(path=str(tiny_model_folder), dtype="float32", device="cpu")
    from bids_core.config import LoraConfig

    model = add_lora(load_base(config), LoraConfig(r=2), seed=0)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    callback = WarmupCallback("kept")
    arguments = SimpleNamespace(output_dir=str(tmp_path))
    state = SimpleNamespace(global_step=1, epoch=1.0)
    parts = {"model": model, "optimizer": optimizer}
    callback.on_train_begin(arguments, state, None, **parts)
    callback.on_pre_optimizer_step(arguments, state, None, **parts)
    with pytest.raises(ConfigError, match="DeepSpeed"):
        callback.on_epoch_end(arguments, state, None, **parts)


def test_a_model_without_an_adapter_is_refused_at_the_start(tmp_path):
    with pytest.raises(ConfigError, match="no adapter"):
        WarmupCallback().on_train_begin(None, None, None, model=torch.nn.Linear(2, 2))
