"""The callback in the training runs that docs/warmups.md shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import foreign_trainings as foreign
import pytest
import torch
import yaml

from bids_core.config import ModelConfig, WarmupConfig
from bids_core.errors import ConfigError
from bids_core.training import WarmupCallback
from bids_core.training.external import examine, read_moments_of

PAGE = Path(__file__).parents[3] / "docs" / "warmups.md"


def test_the_pages_training_by_trl_leaves_a_warmup(tiny_model_folder, tmp_path, monkeypatch):
    pytest.importorskip("trl")
    monkeypatch.chdir(tmp_path)
    rows = "".join(json.dumps(row) + "\n" for row in foreign.ROWS)
    (tmp_path / "train.jsonl").write_text(rows)
    block = _block("SFTTrainer").replace("MODEL", str(tiny_model_folder))
    block = block.replace("SFTConfig(", "SFTConfig(use_cpu=True, bf16=False, ")  # no GPU here
    exec(block, {"__name__": "page"})  # noqa: S102
    kept = WarmupConfig(checkpoints="outputs/warmup")
    model = ModelConfig(path=str(tiny_model_folder), dtype="float32", device="cpu")
    found = examine(model, kept, needs_moments=True)
    assert found.steps == (2, 4)
    assert len(found.schedule.losses) == 4


@pytest.mark.parametrize("more", [{}, {"additional_target": "norm"}, {"loraplus_lr_ratio": 16.0}])
def test_the_pages_training_by_llama_factory_is_read_both_ways(
    more, tiny_model_folder, tmp_path, monkeypatch
):
    """Its own checkpoints and the callback's of one training say the same, bit for bit."""
    pytest.importorskip("llamafactory")  # its pins exclude some of ours: docs/warmups.md
    monkeypatch.chdir(tmp_path)
    rows = [
        {"instruction": row["prompt"], "input": "", "output": row["completion"]}
        for row in foreign.ROWS
    ]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    (tmp_path / "dataset_info.json").write_text('{"train": {"file_name": "train.json"}}')
    text = PAGE.read_text(encoding="utf-8")
    sft = yaml.safe_load(re.search(r"```yaml\n(# sft.yaml\n.*?)```", text, re.DOTALL)[1])
    sft |= {"model_name_or_path": str(tiny_model_folder), "use_cpu": True} | more
    (tmp_path / "sft.yaml").write_text(yaml.safe_dump(sft))
    exec(_block("run_exp"), {"__name__": "page"})  # noqa: S102
    _says_the_same_both_ways(tiny_model_folder, steps=(3, 6))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"lora_modules_to_save": ["norm"]},
        {"lora_modules_to_save": ["norm", "embed_tokens"], "embedding_lr": 1e-5},
        {"loraplus_lr_ratio": 16.0},
    ],
)
def test_the_pages_plugin_for_axolotl_is_read_both_ways(
    more, tiny_model_folder, tmp_path, monkeypatch
):
    pytest.importorskip("axolotl")  # its pins exclude ours: docs/warmups.md
    monkeypatch.chdir(tmp_path)
    rows = [{"instruction": r["prompt"], "output": r["completion"]} for r in foreign.ROWS]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "bids_plugin.py").write_text(_block("BidsPlugin"))
    content = {
        "base_model": str(tiny_model_folder), "plugins": ["bids_plugin.BidsPlugin"],
        "datasets": [{"path": "train.jsonl", "type": "alpaca"}], "sequence_len": 256,
        "adapter": "lora", "lora_r": 8, "lora_alpha": 16, "lora_target_modules": ["q_proj"],
        "lora_qkv_kernel": False, "lora_mlp_kernel": False, "lora_o_kernel": False,  # for GPUs
        "micro_batch_size": 4, "gradient_accumulation_steps": 1, "num_epochs": 2,
        "optimizer": "adamw_torch", "learning_rate": 1e-4, "weight_decay": 0.1,
        "lr_scheduler": "linear", "logging_steps": 1, "save_strategy": "epoch",
        "attn_implementation": "sdpa", "bf16": False, "output_dir": "outputs",
    }  # fmt: skip
    (tmp_path / "sft.yaml").write_text(yaml.safe_dump(content | more))
    subprocess.run(
        [sys.executable, "-m", "axolotl.cli.train", "sft.yaml"],
        check=True, env=os.environ | {"PYTHONPATH": str(tmp_path), "AXOLOTL_DO_NOT_TRACK": "1"},
    )  # fmt: skip
    _says_the_same_both_ways(tiny_model_folder, steps=(3, 6))


def _block(word: str) -> str:
    """Return the page's Python that has a word."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return next(block for block in blocks if word in block)


def _says_the_same_both_ways(model_folder: Path, *, steps: tuple[int, ...]) -> None:
    """Compare a tool's own checkpoints with what the callback kept of the same training."""
    model = ModelConfig(path=str(model_folder), dtype="float32", device="cpu")
    own, kept = (
        examine(model, WarmupConfig(checkpoints=folder), needs_moments=True)
        for folder in ("outputs", "outputs/warmup")
    )
    assert own.steps == kept.steps == steps
    assert own.schedule == kept.schedule
    names = list(own.shapes)
    for folders in zip(own.folders, kept.folders, strict=True):
        one, other = (read_moments_of(folder, own.shapes)[0].flat(names) for folder in folders)
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


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
