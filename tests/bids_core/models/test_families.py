"""The matrix of docs/models.md: model family x gradients, packing, evaluation, training, 4 bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from model_families import (
    COMPOSITE,
    FAMILIES,
    STATEFUL,
    TARGETS,
    answer_apart,
    build,
    examples,
    gradients_apart,
    losses_apart,
)
from safetensors.torch import load_file
from transformers.pytorch_utils import Conv1D

from bids_core.config import LoraConfig, ModelConfig, WarmupConfig
from bids_core.data.batches import collate
from bids_core.errors import ModelError
from bids_core.evaluation.choices import choice_log_likelihoods
from bids_core.evaluation.generation import generate
from bids_core.evaluation.likelihood import log_likelihoods
from bids_core.gradients import per_example_gradients
from bids_core.models.adapters import add_lora
from bids_core.models.load import load_base
from bids_core.records import TokenizedExample
from bids_core.training.packing import pack, packed_loss, require_packable
from bids_core.training.warmup import warmup

PROMPTS = (21, 3, 9, 14)
REFERENCES = (2, 6, 1, 4)
LIMITS = (8, 3, 8, 1)


def with_adapters(model, family, *, seed=1):
    targets = TARGETS.get(family, LoraConfig().target_modules)
    config = LoraConfig(r=3, alpha=6, dropout=0.0, target_modules=targets)
    adapted = add_lora(model.requires_grad_(False), config, seed=0)
    torch.manual_seed(seed)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return adapted


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Save a family's model; return its folder."""
    folders = {}

    def save(family):
        if family not in folders:
            folders[family] = tmp_path_factory.mktemp(family)
            build(family).save_pretrained(folders[family])
        return folders[family]

    return save


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients(family, side):
    model = with_adapters(build(family), family)
    rows = examples()
    got = per_example_gradients(model, collate(rows, pad_token_id=0, padding_side=side))
    expected = gradients_apart(model, rows)
    assert ((got - expected).norm(dim=1) / expected.norm(dim=1)).max() < 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_packing_is_right_or_refused(family, dtype):
    model = build(family).to(dtype)
    rows = examples()  # all but one of them longer than the windows
    if family in STATEFUL:
        with pytest.raises(ModelError, match="carry a state") as caught:
            require_packable(model, rows)
        assert "\n" not in str(caught.value)
        return
    require_packable(model, rows)
    with torch.no_grad():
        summed, n_labels = packed_loss(model, pack(rows))
        expected = losses_apart(model, rows).sum()
    assert int(n_labels) == sum(int((row.labels[1:] != -100).sum()) for row in rows)
    assert float(summed) == pytest.approx(
        float(expected), rel=1e-6 if dtype == torch.float32 else 1e-3
    )


def prompt_and_answer(prompt, answer):
    labels = [-100] * len(prompt) + answer
    ids = np.array(prompt + answer, np.int32)
    return TokenizedExample("row", ids, np.array(labels, np.int32))


@pytest.fixture(scope="module")
def asked():
    random = np.random.default_rng(0)
    prompts = [random.integers(3, 80, n).tolist() for n in PROMPTS]
    answers = [random.integers(3, 80, n).tolist() for n in REFERENCES]
    return list(zip(prompts, answers, strict=True))


def score_apart(model, prompt, answer):
    with torch.no_grad():
        return -float(losses_apart(model, [prompt_and_answer(prompt, answer)])[0])


def check_evaluation(model, asked, tokens_per_batch, tolerance):
    rows = [prompt_and_answer(*pair) for pair in asked]
    expected = [score_apart(model, *pair) for pair in asked]
    scored = log_likelihoods(model, rows, tokens_per_batch=tokens_per_batch)
    assert [row.log_likelihood for row in scored] == pytest.approx(expected, abs=tolerance)
    found = generate(
        model, rows, max_new_tokens=LIMITS, stop_ids=[2], tokens_per_batch=tokens_per_batch
    )
    assert [answer.tokens for answer in found] == [
        answer_apart(model, prompt, limit) for (prompt, _), limit in zip(asked, LIMITS, strict=True)
    ]
    references = [answer.reference.log_likelihood for answer in found]
    assert references == pytest.approx(expected, abs=tolerance)
    choices = [[pair, (pair[0], [*pair[1][:1], 5])] for pair in asked]
    groups = [[prompt_and_answer(*choice) for choice in group] for group in choices]
    chosen = choice_log_likelihoods(model, groups, tokens_per_batch=tokens_per_batch)
    for group, scores in zip(choices, chosen, strict=True):
        apart = [score_apart(model, *choice) for choice in group]
        assert [score.log_likelihood for score in scores] == pytest.approx(apart, abs=tolerance)


@pytest.mark.parametrize("tokens_per_batch", [1, 10_000])
@pytest.mark.parametrize("family", FAMILIES)
def test_evaluation_equals_whole_texts_without_a_cache(family, tokens_per_batch, asked):
    check_evaluation(build(family), asked, tokens_per_batch, 1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_training(family, tmp_path):
    """Every tensor with an adapter is trained; nothing that text does not reach has one."""
    model = with_adapters(build(family), family)
    before = {n: p.clone() for n, p in model.named_parameters() if p.requires_grad}
    settings = WarmupConfig(epochs=1, batch_size=4, learning_rate=1e-2)
    warmup(
        model, examples(), settings, pad_token_id=0, seed=0, folder=tmp_path / "out",
        scratch=tmp_path / "scratch",
    )  # fmt: skip
    kept = load_file(tmp_path / "out" / "checkpoint-1" / "optimizer.safetensors")
    assert not any("vision" in name for name in before)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert not torch.equal(parameter, before[name]), name
            assert kept[f"exp_avg_sq.{name}"].any(), name


def dequantized(quantized, family):
    """Return an ordinary model with the weights that the 4 bits stand for."""
    from bitsandbytes.functional import dequantize_4bit

    model = build(family)
    for name, module in quantized.named_modules():
        if type(module).__name__ == "Linear4bit":
            weight = module.weight
            values = dequantize_4bit(weight.data, weight.quant_state)
            layer = model.get_submodule(name)
            with torch.no_grad():
                layer.weight.copy_(values.T if isinstance(layer, Conv1D) else values)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_four_bits(family, saved, asked):
    pytest.importorskip("bitsandbytes")
    config = ModelConfig(
        path=str(saved(family)), dtype="float32", device="cpu", quantization="4bit"
    )
    if family == "mamba":  # multiplies with its weights past their layers
        with pytest.raises(ModelError, match="a mamba model does not run in 4bit"):
            load_base(config)
        return
    plain = dequantized(load_base(config), family)
    model = load_base(config)
    check_evaluation(model, asked, 10_000, 1e-3)
    rows = examples()
    with torch.no_grad():
        torch.testing.assert_close(
            losses_apart(model, rows), losses_apart(plain, rows), rtol=1e-4, atol=1e-3
        )
    got = per_example_gradients(with_adapters(model, family), collate(rows, pad_token_id=0))
    expected = gradients_apart(with_adapters(plain, family), rows)
    assert ((got - expected).norm(dim=1) / expected.norm(dim=1)).max() < 1e-3


@pytest.mark.parametrize("family", COMPOSITE)
@pytest.mark.parametrize("targets", ["all-linear", r".*\.(q|v)_proj(\.linear)?"])
def test_adapters_go_onto_the_language_model_alone(family, targets):
    model = build(family)
    adapted = add_lora(model, LoraConfig(r=2, target_modules=targets, dropout=0.0), seed=0)
    named = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert named
    assert all(".language_model." in name for name in named)
