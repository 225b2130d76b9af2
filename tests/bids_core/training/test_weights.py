"""Tokens that do not count alike: training, packing, gradients and held-out loss agree on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_core.config import LoraConfig, ModelConfig, WarmupConfig
from bids_core.data.batches import collate
from bids_core.evaluation.likelihood import answer_losses
from bids_core.gradients import per_example_gradients
from bids_core.models.adapters import add_lora
from bids_core.models.load import load_base
from bids_core.models.loss import LabelRows, example_losses, output_head
from bids_core.records import IGNORED_LABEL, TokenizedExample
from bids_core.training.packing import pack, packed_loss
from bids_core.training.trainer import train


def make_examples(n, *, seed=0):
    """Return examples, two of three of which have weights; some weights are 1."""
    generator = np.random.default_rng(seed)
    examples = []
    for number in range(n):
        ids = generator.integers(3, 500, int(generator.integers(8, 20))).astype(np.int32)
        labels = ids.copy()
        labels[: len(ids) // 3] = IGNORED_LABEL
        weights = generator.choice([0.25, 0.5, 1.0, 2.0], len(ids)).astype(np.float32)
        weights[labels == IGNORED_LABEL] = 0
        kept = weights if number % 3 else None
        examples.append(TokenizedExample(f"r{number}", ids, labels, kept))
    return examples


def weighted_sum(model, example):
    """Return the oracle: sum of w_t nll_t from all logits, and the sum of w_t."""
    ids = torch.from_numpy(example.input_ids.astype(np.int64))[None]
    logits = model(input_ids=ids).logits[0, :-1].float()
    targets = torch.from_numpy(example.labels.astype(np.int64))[1:]
    weights = (targets != IGNORED_LABEL).float()
    if example.weights is not None:
        weights = torch.from_numpy(example.weights)[1:]
    nll = torch.nn.functional.cross_entropy(
        logits, targets, reduction="none", ignore_index=IGNORED_LABEL
    )
    return (weights * nll).sum(), weights.sum()


@pytest.fixture
def model(tiny_model_folder):
    config = ModelConfig(path=str(tiny_model_folder), dtype="float32", device="cpu")
    lora = LoraConfig(r=4, alpha=8, dropout=0.0)
    made = add_lora(load_base(config), lora, seed=0)
    torch.manual_seed(3)
    for name, parameter in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return made.eval()


def test_every_loss_is_the_weighted_mean(model):
    examples = make_examples(7)
    oracle = [total / weight for total, weight in (weighted_sum(model, e) for e in examples)]
    expected = torch.stack(oracle).detach()
    batch = collate(examples, pad_token_id=0)
    losses = example_losses(model, batch, LabelRows.of_batch(batch), head=output_head(model))
    torch.testing.assert_close(losses.detach(), expected, rtol=1e-5, atol=1e-5)
    held_out = answer_losses(model, examples, tokens_per_batch=64)
    np.testing.assert_allclose(held_out, expected.numpy(), rtol=1e-5)
    sums = [weighted_sum(model, e) for e in examples]
    summed, total = packed_loss(model, pack(examples))
    torch.testing.assert_close(summed.detach(), sum(s for s, _ in sums).detach(), rtol=1e-5, atol=0)
    assert float(total) == pytest.approx(float(sum(w for _, w in sums)))


def test_gradients_are_those_of_the_weighted_mean(model):
    examples = make_examples(5)
    trainable = [p for p in model.parameters() if p.requires_grad]
    expected = []
    for example in examples:
        total, weight = weighted_sum(model, example)
        grads = torch.autograd.grad(total / weight, trainable)
        expected.append(torch.cat([grad.flatten() for grad in grads]))
    found = per_example_gradients(model, collate(examples, pad_token_id=0))
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("tokens_per_batch", [4096, 40])
def test_a_step_is_the_weighted_mean_over_all_its_tokens(
    model, tmp_path, packing, tokens_per_batch
):
    examples = make_examples(6)
    sums = [weighted_sum(model, e) for e in examples]
    expected = float(sum(s for s, _ in sums) / sum(w for _, w in sums))
    settings = WarmupConfig(
        epochs=1, batch_size=6, learning_rate=1e-3, tokens_per_batch=tokens_per_batch
    )
    log = train(
        model, examples, settings, pad_token_id=0, seed=0, scratch=tmp_path, packing=packing
    )
    assert log.losses == pytest.approx([expected], rel=1e-5)


def test_weights_of_one_change_nothing(model):
    plain = [replace(example, weights=None) for example in make_examples(4)]
    ones = [replace(e, weights=(e.labels != IGNORED_LABEL).astype(np.float32)) for e in plain]
    found = per_example_gradients(model, collate(ones, pad_token_id=0))
    expected = per_example_gradients(model, collate(plain, pad_token_id=0))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    assert "weights" not in collate(plain, pad_token_id=0)
    assert "weights" not in pack(plain)
