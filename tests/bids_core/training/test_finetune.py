"""Fine-tuning: resumed equals undisturbed, packed equals padded, merged equals adapter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from random_examples import make_examples
from safetensors.torch import load_file

from bids_core.config import FinetuneConfig, LoraConfig, ModelConfig
from bids_core.data.batches import collate
from bids_core.errors import ConfigError, ModelError
from bids_core.training.finetune import finetune, load_tuned, trainable_model
from bids_core.training.packing import pack, packed_loss, require_packable
from bids_core.training.reporters import require_reporters
from bids_core.training.resuming import PROGRESS, latest_checkpoint

LORA = LoraConfig(r=4, alpha=8, dropout=0.3)
SETTINGS = FinetuneConfig(epochs=3, batch_size=4, learning_rate=1e-2, tokens_per_batch=40)


class Stop(Exception):
    """Ends a training from outside."""


def stop_after(step):
    def progress(done, total):
        if step is not None and done >= step:
            raise Stop

    return progress


def run(folder, tiny, *, settings=SETTINGS, lora=LORA, scratch="scratch", progress=None, seed=5):
    config = ModelConfig(path=str(tiny), dtype="float32", device="cpu")
    model, autocast = trainable_model(config, lora, settings, seed=seed)
    return finetune(
        model, make_examples(), settings, pad_token_id=0, seed=seed, folder=folder,
        scratch=folder.parent / scratch, autocast=autocast,
        on_progress=progress or stop_after(None),
    )  # fmt: skip


@pytest.mark.parametrize("examples_seen", [14, 20])
def test_a_resumed_training_equals_the_undisturbed_one(tmp_path, tiny_model_folder, examples_seen):
    often = SETTINGS.model_copy(update={"checkpoint_seconds": 1e-9})
    whole = run(tmp_path / "whole", tiny_model_folder, scratch="other")
    with pytest.raises(Stop):
        run(tmp_path / "cut", tiny_model_folder, settings=often,
            progress=stop_after(examples_seen))  # fmt: skip
    left = list((tmp_path / "scratch").glob("checkpoint-*"))
    assert len(left) == 1  # older ones are removed
    assert (left[0] / PROGRESS).exists()
    resumed = run(tmp_path / "cut", tiny_model_folder, settings=often)
    for name in ("losses", "learning_rates", "epochs", "tokens", "n_rows"):
        assert resumed[name] == whole[name], name
    first, second = (
        load_file(tmp_path / name / "adapter" / "adapter_model.safetensors")
        for name in ("whole", "cut")
    )
    for name, values in first.items():
        assert torch.equal(values, second[name]), name


JOB = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
sys.path.append({helpers!r})
import test_finetune as t
often = t.SETTINGS.model_copy(update={{"checkpoint_seconds": 1e-9, "epochs": 400}})
t.run(Path({folder!r}), Path({tiny!r}), settings=often)
"""


def test_kill_9_loses_only_what_came_after_the_checkpoint(tmp_path, tiny_model_folder):
    here = Path(__file__).parent
    job = JOB.format(here=str(here), helpers=str(here.parents[1]), folder=str(tmp_path / "cut"),
                     tiny=str(tiny_model_folder))  # fmt: skip
    scratch = tmp_path / "scratch"
    with subprocess.Popen([sys.executable, "-c", job]) as process:
        give_up = time.monotonic() + 120
        while not list(scratch.glob(f"checkpoint-*/{PROGRESS}")) and time.monotonic() < give_up:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    assert not (tmp_path / "cut").exists()
    steps = int(max(scratch.glob(f"checkpoint-*/{PROGRESS}")).parent.name.rpartition("-")[2])
    long = SETTINGS.model_copy(update={"epochs": 400})
    seen = []

    def first_step(done, total):
        seen.append(done)
        raise Stop

    with pytest.raises(Stop):
        run(tmp_path / "cut", tiny_model_folder, settings=long, progress=first_step)
    assert seen[0] > 14 * steps // 4  # it went on behind the checkpoint


def test_a_checkpoint_that_was_cut_short_or_does_not_fit_is_not_used(tmp_path):
    whole, cut, other = (tmp_path / f"checkpoint-{n}" for n in (3, 7, 9))
    for folder, text in ((whole, '{"shape": [1, 2]}'), (other, '{"shape": [2, 1]}'), (cut, None)):
        folder.mkdir()
        if text is not None:
            (folder / PROGRESS).write_text(text)
    assert latest_checkpoint(tmp_path, [1, 2]) == whole
    assert sorted(tmp_path.iterdir()) == [whole]


def test_packing_changes_no_loss_and_no_weight(tmp_path, tiny_model_folder):
    plain_lora = LORA.model_copy(update={"dropout": 0.0})
    packed = SETTINGS.model_copy(update={"packing": True, "tokens_per_batch": 4096})
    plain = SETTINGS.model_copy(update={"tokens_per_batch": 4096})
    first = run(tmp_path / "a", tiny_model_folder, settings=plain, lora=plain_lora)
    second = run(tmp_path / "b", tiny_model_folder, settings=packed, lora=plain_lora)
    assert second["losses"] == pytest.approx(first["losses"], rel=1e-5)
    weights = [load_file(tmp_path / n / "adapter" / "adapter_model.safetensors") for n in "ab"]
    for name, values in weights[0].items():
        torch.testing.assert_close(weights[1][name], values, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_packed_loss_is_that_of_the_examples_apart(tiny_model_folder, kernel):
    config = ModelConfig(path=str(tiny_model_folder), dtype="float32", device="cpu")
    model, _ = trainable_model(config, LORA, SETTINGS, seed=0)
    model.get_base_model().set_attn_implementation(kernel)
    model.eval()
    examples = make_examples(5)
    summed, n_labels = packed_loss(model, pack(examples))
    apart = [(model(**collate([e], pad_token_id=0)).loss, (e.labels != -100).sum())
             for e in examples]  # fmt: skip
    assert int(n_labels) == sum(int(n) for _, n in apart)
    assert summed.item() == pytest.approx(sum(loss.item() * int(n) for loss, n in apart), rel=1e-5)
    require_packable(model, examples)


def test_a_model_that_sees_across_examples_is_refused(tiny_model_folder, monkeypatch):
    config = ModelConfig(path=str(tiny_model_folder), dtype="float32", device="cpu")
    model, _ = trainable_model(config, LORA, SETTINGS, seed=0)
    inner = model.get_base_model()
    forward = inner.forward

    def deaf(input_ids, position_ids=None, attention_mask=None, **kwargs):
        return forward(input_ids=input_ids, **kwargs)

    monkeypatch.setattr(inner, "forward", deaf)
    with pytest.raises(ModelError, match="see each other"):
        require_packable(model, make_examples(4))
    monkeypatch.setattr(inner.config, "_attn_implementation_internal", "flash_attention_2")
    with pytest.raises(ModelError, match="flash_attention_2"):
        require_packable(model, make_examples(4))


def test_merged_answers_like_the_adapter_and_full_trains_everything(tmp_path, tiny_model_folder):
    config = ModelConfig(path=str(tiny_model_folder), dtype="float32", device="cpu")
    batch = collate(make_examples(3), pad_token_id=0)
    logits = {}
    for name, changes in {
        "adapter": {}, "merged": {"save": "merged"}, "full": {"kind": "full"}
    }.items():  # fmt: skip
        settings = SETTINGS.model_copy(update=changes)
        run(tmp_path / name, tiny_model_folder, settings=settings, scratch=f"s-{name}")
        model = load_tuned(config, tmp_path / name).eval()
        with torch.no_grad():
            logits[name] = model(**batch).logits
    torch.testing.assert_close(logits["merged"], logits["adapter"], rtol=1e-4, atol=1e-5)
    before = load_file(tiny_model_folder / "model.safetensors")
    after = load_file(tmp_path / "full" / "model" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(not torch.equal(values, after[name]) for name, values in before.items())


def test_a_reporter_that_is_not_installed_is_named_before_training():
    with pytest.raises(ConfigError, match="pip install not_a_reporter"):
        require_reporters(["not_a_reporter"])
