"""Checkpoints of training runs elsewhere: what is read equals what the live run had."""

from __future__ import annotations

import json
import shutil

import foreign_trainings as foreign
import pytest
import torch

from bids_core.config import LoraConfig, ModelConfig, WarmupConfig
from bids_core.errors import ConfigError
from bids_core.gradients import compute_features, make_projector
from bids_core.models.load import load_adapter
from bids_core.training.callback import WarmupCallback
from bids_core.training.external import (
    checkpoint_digests,
    examine,
    find_checkpoints,
    import_warmup,
)
from bids_core.training.foreign_adapter import agreed_lora
from bids_core.training.moments import AdamMoments


def model_of(folder):
    return ModelConfig(path=str(folder), dtype="float32", device="cpu")


def section(folder, **changes):
    return WarmupConfig(checkpoints=(str(folder),), **changes)


def imported(model_folder, folder, out, **changes):
    return import_warmup(
        model_of(model_folder), section(folder, **changes), needs_moments=True, folder=out
    )


def features(model, moments):
    size = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return compute_features(
        model, foreign.examples(), feature="adam", moments=moments,
        projector=make_projector("rademacher", size, 64, 0),
    ).values  # fmt: skip


def require_as_live(live, model_folder, summary, out):
    """Hold what was imported against what the optimizer had: rates, moments, features."""
    n_steps = [len(rates) for rates in live.rates if rates]
    assert summary["learning_rates"] == pytest.approx([r for part in live.rates for r in part])
    assert summary["epochs"] == [epoch for epoch, n in enumerate(n_steps) for _ in range(n)]
    means = [sum(rates) / len(rates) for rates in live.rates if rates]
    assert summary["checkpoint_weights"] == pytest.approx([m / sum(means) for m in means])
    for number, expected in enumerate(live.moments, start=1):
        found = AdamMoments.load(out / f"checkpoint-{number}")
        assert list(found.exp_avg) == list(found.exp_avg_sq)
        assert set(found.exp_avg) == set(expected.exp_avg)
        for name, value in expected.exp_avg.items():
            assert torch.equal(found.exp_avg[name], value), name
            assert torch.equal(found.exp_avg_sq[name], expected.exp_avg_sq[name]), name
        assert found.step == expected.step
        assert tuple(found.betas) == tuple(expected.betas)
        assert found.eps == expected.eps
    last = out / f"checkpoint-{len(live.moments)}"
    loaded = load_adapter(model_of(model_folder), last, trainable=True)
    ours, theirs = (
        features(model, moments)
        for model, moments in ((loaded, AdamMoments.load(last)), (live.model, live.moments[-1]))
    )
    assert torch.equal(ours, theirs)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_model_folder):
    """A training by the Trainer, with two parameter groups; read only."""
    folder = tmp_path_factory.mktemp("trainer")
    return folder, foreign.run_trainer(tiny_model_folder, folder)


@pytest.fixture
def copied(trained, tmp_path):
    """The last checkpoint alone, to spoil."""
    target = tmp_path / "checkpoint-6"
    shutil.copytree(trained[0] / "checkpoint-6", target)
    return target


def test_a_training_by_the_trainer_with_two_groups(trained, tiny_model_folder, tmp_path):
    folder, live = trained
    assert len(live.groups) == 2
    assert min(live.groups) >= 1
    summary = imported(tiny_model_folder, folder, tmp_path / "out")
    require_as_live(live, tiny_model_folder, summary, tmp_path / "out")
    assert [one["step"] for one in summary["elsewhere"]] == [3, 6]
    assert len(summary["losses"]) == 6
    assert summary["weight_decay"] == 0.1
    files = {p.suffix for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert files == {".safetensors", ".json"}


@pytest.mark.parametrize("lora", [None, {"modules_to_save": None, "use_dora": True}])
def test_a_training_by_trl(tiny_model_folder, tmp_path, lora):
    pytest.importorskip("trl")
    adapter = None if lora is None else foreign.adapter(**lora)
    live = foreign.run_trl(tiny_model_folder, tmp_path / "run", lora=adapter)
    summary = imported(tiny_model_folder, tmp_path / "run", tmp_path / "out")
    require_as_live(live, tiny_model_folder, summary, tmp_path / "out")


def test_rates_between_logged_steps_lie_on_the_line(tiny_model_folder, tmp_path):
    live = foreign.run_trainer(tiny_model_folder, tmp_path / "run", logging_steps=2, warmup_steps=0)
    found = examine(
        model_of(tiny_model_folder), section(tmp_path / "run"), needs_moments=True
    ).schedule
    true = [rate for part in live.rates for rate in part]
    # nothing is logged before step 2; from there on a linear schedule is met exactly
    assert found.learning_rates[1:] == pytest.approx(true[1:])


def test_a_log_that_is_a_step_ahead_is_put_right(trained, tiny_model_folder, tmp_path):
    """transformers before 4.57 logged the rate of the next step."""
    run = tmp_path / "run"
    shutil.copytree(trained[0], run)
    true = [rate for part in trained[1].rates for rate in part]
    for checkpoint in run.glob("checkpoint-*"):
        path = checkpoint / "trainer_state.json"
        state = json.loads(path.read_text())
        for entry in state["log_history"]:
            if "learning_rate" in entry:
                step = entry["step"]
                entry["learning_rate"] = true[step] if step < len(true) else 0.0
        path.write_text(json.dumps(state))
    found = examine(model_of(tiny_model_folder), section(run), needs_moments=True).schedule
    assert found.learning_rates[1:] == pytest.approx(true[1:])


def test_what_the_callback_keeps(tiny_model_folder, tmp_path):
    live = foreign.run_trainer(
        tiny_model_folder, tmp_path / "run", save_strategy="no",
        callbacks=[WarmupCallback("kept")],
    )  # fmt: skip
    summary = imported(tiny_model_folder, tmp_path / "run" / "kept", tmp_path / "out")
    require_as_live(live, tiny_model_folder, summary, tmp_path / "out")
    assert len(summary["losses"]) == 6
    kept = json.loads((tmp_path / "run" / "kept" / "checkpoint-3" / "warmup.json").read_text())
    assert kept["learning_rate"] == pytest.approx(sum(live.rates[0]) / 3)


def test_the_callback_refuses_what_it_cannot_keep(tiny_model_folder, tmp_path):
    with pytest.raises(ConfigError, match="adamw_torch"):
        foreign.run_trainer(
            tiny_model_folder, tmp_path / "run", callbacks=[WarmupCallback()], optim="adafactor",
            live=False,
        )  # fmt: skip


def test_moments_of_8_bits_are_what_bitsandbytes_makes_of_them(tmp_path, tokenizer):
    functional = pytest.importorskip("bitsandbytes.functional")
    from conftest import build_llama

    folder = tmp_path / "model"
    build_llama(len(tokenizer), hidden_size=128).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    foreign.run_trainer(
        folder, tmp_path / "run", lora=foreign.adapter(r=64), optim="adamw_bnb_8bit", live=False,
        callbacks=[WarmupCallback("kept")],
    )  # fmt: skip
    imported(folder, tmp_path / "run", tmp_path / "out")
    imported(folder, tmp_path / "run" / "kept", tmp_path / "kept")
    found = AdamMoments.load(tmp_path / "out" / "checkpoint-2")
    kept = AdamMoments.load(tmp_path / "kept" / "checkpoint-2")
    state = torch.load(tmp_path / "run" / "checkpoint-6" / "optimizer.pt", weights_only=True)
    packed = [one["__bnb_optimizer_quant_state__"] for one in state["state"].values()]
    eight = [one for one in packed if "absmax1" in one]
    assert eight
    for moments in (found, kept):
        values = list(moments.exp_avg_sq.values())
        for one in eight:
            true = functional.dequantize_blockwise(
                one["state2"], absmax=one["absmax2"], code=one["qmap2"], blocksize=256
            )
            assert any(v.shape == true.shape and torch.equal(v, true) for v in values)


def test_the_digest_is_that_of_the_files(trained, copied):
    folder, _ = trained
    assert checkpoint_digests([str(copied)]) == checkpoint_digests([str(folder / "checkpoint-6")])
    (copied / "README.md").write_text("other")
    (copied / "training_args.bin").unlink()
    assert checkpoint_digests([str(copied)]) == checkpoint_digests([str(folder / "checkpoint-6")])
    (copied / "trainer_state.json").write_text("{}")
    assert checkpoint_digests([str(copied)]) != checkpoint_digests([str(folder / "checkpoint-6")])


def test_a_trainings_folder_stands_for_its_checkpoints(trained):
    folder, _ = trained
    assert [p.name for p in find_checkpoints([str(folder)])] == ["checkpoint-3", "checkpoint-6"]
    with pytest.raises(ConfigError, match="twice"):
        find_checkpoints([str(folder), str(folder / "checkpoint-6")])


def without(*names):
    def spoil(folder):
        for name in names:
            (folder / name).unlink()

    return spoil


def edited(name, **changes):
    def spoil(folder):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def replaced_optimizer(change):
    def spoil(folder):
        path = folder / "optimizer.pt"
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)

    return spoil


def deepspeed(folder):
    (folder / "optimizer.pt").unlink()
    (folder / "global_step6").mkdir()


def sharded(folder):
    (folder / "optimizer.pt").unlink()
    (folder / "optimizer_0").mkdir()


def pickled(folder):
    torch.save({"state": Ellipsis, "code": print}, folder / "optimizer.pt")


def drop_a_parameter(content):
    content["param_groups"][0]["params"].pop()


def transpose_one(content):
    state = content["state"][0]
    state["exp_avg"], state["exp_avg_sq"] = state["exp_avg"].T, state["exp_avg_sq"].T


def not_a_number(content):
    content["state"][0]["exp_avg"][0, 0] = float("nan")


def other_eps(content):
    content["param_groups"][1]["eps"] = 1e-3


def muon(content):
    content["param_groups"][0]["ns_steps"] = 5


def other_vocabulary(folder):
    from conftest import build_tokenizer

    other = build_tokenizer()
    other.add_special_tokens({"additional_special_tokens": ["<new>"]})
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    one, two = list(vocabulary)[300:302]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("adapter_model.safetensors"), "adapter_model.safetensors"),
        (without("adapter_config.json"), "adapter_config.json"),
        (without("trainer_state.json"), "trainer_state.json"),
        (without("optimizer.pt"), "has no optimizer.pt: .*save_only_model.*train_feature: sgd"),
        (deepspeed, "DeepSpeed"),
        (sharded, "FULL_STATE_DICT"),
        (pickled, "cannot be read as tensors"),
        (edited("trainer_state.json", log_history=[]), "warmup.checkpoint_rates"),
        (edited("adapter_config.json", base_model_name_or_path="a/other"), "base_model: a/other"),
        (edited("adapter_config.json", r=8), "8x32 in|4x32 in"),
        (edited("adapter_config.json", peft_type="IA3"), "only LoRA"),
        (edited("adapter_config.json", target_modules=["c_attn"]), "does not fit"),
        (replaced_optimizer(drop_a_parameter), "12 parameters, its adapter 13"),
        (replaced_optimizer(transpose_one), "do not fit"),
        (replaced_optimizer(not_a_number), "NaN or infinite"),
        (replaced_optimizer(other_eps), "different betas or eps"),
        (replaced_optimizer(muon), "Muon"),
        (other_vocabulary, "another tokenizer"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_in_one_line(copied, tiny_model_folder, spoil, message):
    spoil(copied)
    with pytest.raises(ConfigError, match=message) as caught:
        examine(model_of(tiny_model_folder), section(copied), needs_moments=True)
    assert "\n" not in str(caught.value)
    assert "warmup." in str(caught.value)


def test_without_an_optimizer_plain_gradients_are_what_is_left(copied, tiny_model_folder, tmp_path):
    (copied / "optimizer.pt").unlink()
    found = examine(model_of(tiny_model_folder), section(copied), needs_moments=False)
    assert not found.has_moments
    assert any("optimizer.pt" in remark for remark in found.remarks)
    summary = import_warmup(
        model_of(tiny_model_folder), section(copied), needs_moments=False, folder=tmp_path / "out"
    )
    assert summary["has_moments"] is False
    assert not (tmp_path / "out" / "checkpoint-1" / "optimizer.safetensors").exists()


def test_rates_that_no_log_has_can_be_given(trained, tiny_model_folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained[0], run)
    for checkpoint in run.glob("checkpoint-*"):
        edited("trainer_state.json", log_history=[])(checkpoint)
    summary = imported(tiny_model_folder, run, tmp_path / "out", checkpoint_rates=(3e-5, 1e-5))
    assert summary["checkpoint_weights"] == pytest.approx([0.75, 0.25])
    with pytest.raises(ConfigError, match="1 learning rates for 2 checkpoints"):
        imported(tiny_model_folder, run, tmp_path / "no", checkpoint_rates=(3e-5,))


def test_the_same_model_under_another_name(copied, tiny_model_folder):
    edited("adapter_config.json", base_model_name_or_path="org/other")(copied)
    model = model_of(tiny_model_folder)
    examine(model, section(copied, base_model="org/other"), needs_moments=True)
    same = f"somewhere/{tiny_model_folder.name}"
    edited("adapter_config.json", base_model_name_or_path=same)(copied)
    examine(model, section(copied), needs_moments=True)
    with pytest.raises(ConfigError, match="warmup.base_model: org/other"):
        examine(model, section(copied, base_model="org/other"), needs_moments=True)


def test_another_chat_template_is_remarked(copied, tiny_model_folder):
    (copied / "chat_template.jinja").write_text("{{ messages }}")
    found = examine(model_of(tiny_model_folder), section(copied), needs_moments=True)
    assert any("chat template" in remark for remark in found.remarks)


def test_adapters_are_the_checkpoints_own_and_contradictions_are_refused(copied, tiny_model_folder):
    model = model_of(tiny_model_folder)
    found = agreed_lora(LoraConfig(), model, copied)
    assert (found.r, found.alpha, found.dropout) == (4, 8, 0.0)
    assert set(found.target_modules) == {"q_proj", "v_proj"}
    same = LoraConfig(r=4, target_modules=("v_proj", "q_proj"), dropout=0.2)
    assert agreed_lora(same, model, copied).dropout == 0.2
    expression = LoraConfig(target_modules=r".*(q|v)_proj")
    assert set(agreed_lora(expression, model, copied).target_modules) == {"q_proj", "v_proj"}
    for wrong, words in (({"r": 8}, "lora.r: 8"), ({"target_modules": ("q_proj",)}, "lora.target")):
        with pytest.raises(ConfigError, match=words):
            agreed_lora(LoraConfig(**wrong), model, copied)
