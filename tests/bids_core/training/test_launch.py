"""Two processes against one: the same checkpoints, Adam moments and fine-tuned weights, by name."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bids_core.artifacts.failures import Failure
from bids_core.config import FinetuneConfig, LoraConfig, ModelConfig, WarmupConfig
from bids_core.data import PreparedData, Split
from bids_core.errors import NonFiniteError, WorkerError
from bids_core.models.adapters import add_lora
from bids_core.models.load import load_base, load_tokenizer
from bids_core.records import Example, Message, TokenizedExample
from bids_core.training.finetune import finetune, load_tuned, trainable_model
from bids_core.training.launch import finetune_in_processes, warmup_in_processes
from bids_core.training.moments import AdamMoments
from bids_core.training.warmup import save_checkpoint, warmup

LORA = LoraConfig(r=2, alpha=4, dropout=0.0)
# One step holds all rows, so that their order, which the processes share out, cannot matter.
SETTINGS = WarmupConfig(epochs=3, batch_size=8, learning_rate=0.01, warmup_ratio=0.0)


@pytest.fixture
def data(tmp_path, tiny_model_folder):
    import numpy as np

    rng = np.random.default_rng(0)
    examples, tokens = [], []
    for index in range(8):
        ids = rng.integers(3, 40, 6 + index).astype(np.int32)
        labels = ids.copy()
        labels[:3] = -100
        tokens.append(TokenizedExample(f"r{index}", ids, labels))
        turns = (Message("user", "a"), Message("assistant", "b"))
        examples.append(Example(f"r{index}", "s", turns, f"f:{index}"))
    train = Split.of(examples, tokens)
    folder = tmp_path / "prepared"
    PreparedData(train, train, train).save(folder)
    return folder


def test_two_processes_leave_the_checkpoints_of_one(data, tiny_model_folder, tmp_path):
    model = ModelConfig(path=str(tiny_model_folder), dtype="float32", device="cpu")
    alone = warmup(
        add_lora(load_base(model), LORA, seed=0), PreparedData.load(data).train.examples(),
        SETTINGS, pad_token_id=load_tokenizer(model).pad_token_id, seed=0,
        folder=tmp_path / "one", scratch=tmp_path / "scratch-one",
    )  # fmt: skip
    seen = []
    together = warmup_in_processes(
        model, LORA, SETTINGS, data=data, seed=0, folder=tmp_path / "two",
        scratch=tmp_path / "scratch-two", processes=2,
        on_progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert together["processes"] == 2
    assert seen[-1] == (24, 24)
    assert together["learning_rates"] == pytest.approx(alone["learning_rates"])
    assert together["losses"] == pytest.approx(alone["losses"], rel=1e-4)
    assert together["checkpoint_weights"] == pytest.approx(alone["checkpoint_weights"])
    assert together["tokens"] == alone["tokens"]
    for epoch in (1, 2, 3):
        one, two = (tmp_path / name / f"checkpoint-{epoch}" for name in ("one", "two"))
        first, second = AdamMoments.load(one), AdamMoments.load(two)
        assert (second.step, second.betas, second.eps) == (first.step, first.betas, first.eps)
        for kind in ("exp_avg", "exp_avg_sq"):
            expected, found = getattr(first, kind), getattr(second, kind)
            assert list(found) == list(expected)
            for name, values in expected.items():
                torch.testing.assert_close(found[name], values, rtol=2e-4, atol=1e-9)
        weights = [load_file(folder / "adapter_model.safetensors") for folder in (one, two)]
        assert weights[0].keys() == weights[1].keys()
        for name, values in weights[0].items():
            torch.testing.assert_close(weights[1][name], values, rtol=1e-3, atol=1e-5)


def test_a_finetune_in_two_processes_goes_on_and_is_that_of_one(data, tiny_model_folder, tmp_path):
    """All weights, some rows: stopped after some steps by an error, and gone on with."""
    model = ModelConfig(path=str(tiny_model_folder), dtype="float32", device="cpu")
    rows = [f"r{index}" for index in range(6)]
    settings = FinetuneConfig(
        kind="full", epochs=3, batch_size=6, learning_rate=0.01, warmup_ratio=0.0,
        checkpoint_seconds=1e-6,
    )  # fmt: skip
    examples = [e for e in PreparedData.load(data).train.examples() if e.row_id in rows]
    base, _ = trainable_model(model, LORA, settings, seed=0)
    alone = finetune(
        base, examples, settings, pad_token_id=load_tokenizer(model).pad_token_id, seed=0,
        folder=tmp_path / "one", scratch=tmp_path / "scratch-one",
    )  # fmt: skip

    def together(on_progress):
        return finetune_in_processes(
            model, LORA, settings, data=data, row_ids=rows, seed=0, folder=tmp_path / "two",
            scratch=tmp_path / "scratch", curves=tmp_path / "curves", run_name="two",
            processes=2, on_progress=on_progress,
        )  # fmt: skip

    def stop(done, total):
        if list((tmp_path / "scratch").glob("checkpoint-*/progress.json")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        together(stop)
    seen = []
    found = together(lambda done, total: seen.append(done))
    assert seen[0] > 6
    assert seen[-1] == 18
    assert (found["processes"], found["n_rows"]) == (2, 6)
    assert found["losses"] == pytest.approx(alone["losses"], rel=1e-4)
    assert found["learning_rates"] == pytest.approx(alone["learning_rates"])
    one, two = (load_tuned(model, tmp_path / name).state_dict() for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, values in one.items():
        torch.testing.assert_close(two[name], values, rtol=1e-3, atol=1e-4)


def test_an_error_of_a_process_comes_back_as_it_was(data, tiny_model_folder, tmp_path):
    model = ModelConfig(path=str(tiny_model_folder), dtype="float32", device="cpu")
    wild = SETTINGS.model_copy(update={"learning_rate": 1e20, "max_grad_norm": None})
    with pytest.raises(NonFiniteError, match="the training loss is nan"):
        warmup_in_processes(
            model, LORA, wild, data=data, seed=0, folder=tmp_path / "two",
            scratch=tmp_path / "scratch", processes=1,
        )  # fmt: skip


def test_an_error_that_is_not_ours_is_named_and_an_old_one_is_not(
    data, tiny_model_folder, tmp_path
):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "failure-7.json").write_text(Failure("ConfigError", "of yesterday").to_json())
    model = ModelConfig(path=str(tiny_model_folder), dtype="float32", device="cpu")
    (tmp_path / "two").write_text("a file where the folder should be")
    with pytest.raises(WorkerError, match=r"ended with status 1: (FileExists|NotADirectory)Error"):
        warmup_in_processes(
            model, LORA, SETTINGS, data=data, seed=0, folder=tmp_path / "two", scratch=scratch,
            processes=2,
        )  # fmt: skip


def test_moments_of_a_sharded_model_are_gathered_by_name(tiny_model_folder, tmp_path):
    """FSDP2 itself, on two processes; only the Trainer's use of it needs GPUs."""
    job = Path(__file__).with_name("sharded_job.py")
    spec = importlib.util.spec_from_file_location("sharded_job", job)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    save_checkpoint(tmp_path / "one", *module.trained(str(tiny_model_folder), sharded=False))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1",
         "--nproc-per-node", "2", job, tiny_model_folder, tmp_path / "two"],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = AdamMoments.load(tmp_path / "one"), AdamMoments.load(tmp_path / "two")
    assert two.step == one.step == module.STEPS
    for kind in ("exp_avg", "exp_avg_sq"):
        expected, found = getattr(one, kind), getattr(two, kind)
        assert list(found) == list(expected)
        for name, values in expected.items():
            torch.testing.assert_close(found[name], values, rtol=1e-4, atol=1e-9)
    weights = [load_file(tmp_path / n / "adapter_model.safetensors") for n in ("one", "two")]
    assert weights[0].keys() == weights[1].keys()
    for name, values in weights[0].items():
        torch.testing.assert_close(weights[1][name], values, rtol=1e-4, atol=1e-6)
