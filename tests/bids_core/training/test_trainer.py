"""The training loop against a plain one written out by hand."""

from __future__ import annotations

import pytest
import torch
from random_examples import make_examples

from bids_core.config import LoraConfig, ModelConfig, WarmupConfig
from bids_core.data.batches import collate
from bids_core.errors import NonFiniteError
from bids_core.models.adapters import add_lora
from bids_core.models.load import load_base
from bids_core.training.trainer import train
from bids_core.training.warmup import read_moments

LORA = LoraConfig(r=4, alpha=8, dropout=0.0)


@pytest.fixture
def model(tiny_model_folder):
    config = ModelConfig(path=str(tiny_model_folder), dtype="float32", device="cpu")
    return add_lora(load_base(config), LORA, seed=0)


def by_hand(model, examples, *, learning_rates, batch_size):
    """One batch of all examples a step: the order within a batch does not matter."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=0.0, betas=(0.9, 0.999), eps=1e-8, weight_decay=0)
    losses = []
    for rate in learning_rates:
        batch = collate(examples[:batch_size], pad_token_id=0)
        loss = model(**batch).loss  # the mean over all completion tokens of the batch
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        losses.append(float(loss))
    return losses, optimizer


@pytest.mark.parametrize("tokens_per_batch", [4096, 40])
def test_training_equals_a_loop_written_by_hand(
    model, tiny_model_folder, tmp_path, tokens_per_batch
):
    examples = make_examples(8)
    settings = WarmupConfig(
        epochs=5, batch_size=8, learning_rate=1e-2, tokens_per_batch=tokens_per_batch,
        warmup_ratio=0.2,
    )  # fmt: skip
    kept = {}
    log = train(
        model, examples, settings, pad_token_id=0, seed=1, scratch=tmp_path,
        on_epoch_end=lambda epoch, m, o: kept.setdefault(epoch, read_moments(m, o)),
    )  # fmt: skip
    assert log.epochs == [0, 1, 2, 3, 4]
    # linear schedule over 5 steps, one of them warmup, as transformers defines it
    assert log.learning_rates == pytest.approx([0.0, 1e-2, 0.75e-2, 0.5e-2, 0.25e-2])

    config = ModelConfig(path=str(tiny_model_folder), dtype="float32", device="cpu")
    other = add_lora(load_base(config), LORA, seed=0)
    losses, optimizer = by_hand(other, examples, learning_rates=log.learning_rates, batch_size=8)
    assert log.losses == pytest.approx(losses, rel=1e-4)
    expected = read_moments(other, optimizer)
    assert sorted(kept) == [0, 1, 2, 3, 4]
    assert kept[4].step == 5
    assert kept[4].betas == (0.9, 0.999)
    for name, value in expected.exp_avg.items():
        assert torch.allclose(kept[4].exp_avg[name], value, rtol=1e-3, atol=1e-7), name
    for (name, trained), wanted in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.allclose(trained, wanted, rtol=1e-3, atol=1e-5), name


def test_a_step_has_its_rows_however_few_tokens_fit_into_memory(model, tiny_model_folder, tmp_path):
    examples = make_examples(10)
    settings = WarmupConfig(epochs=2, batch_size=8, learning_rate=1e-2, tokens_per_batch=100)
    badly = train(  # five rows fit, and two fives are more than a step of eight
        model, examples, settings, pad_token_id=0, seed=1, scratch=tmp_path
    )
    config = ModelConfig(path=str(tiny_model_folder), dtype="float32", device="cpu")
    other = add_lora(load_base(config), LORA, seed=0)
    settings = settings.model_copy(update={"tokens_per_batch": 10**6})
    freely = train(other, examples, settings, pad_token_id=0, seed=1, scratch=tmp_path)
    assert badly.learning_rates == freely.learning_rates
    assert badly.epochs == freely.epochs == [0, 0, 1, 1]
    assert badly.losses == pytest.approx(freely.losses, rel=1e-5)


def test_the_same_seed_gives_the_same_adapter(tiny_model_folder, tmp_path):
    config = ModelConfig(path=str(tiny_model_folder), dtype="float32", device="cpu")
    lora = LoraConfig(r=4, alpha=8, dropout=0.3)
    settings = WarmupConfig(epochs=2, batch_size=4, learning_rate=1e-2)

    def run(seed):
        model = add_lora(load_base(config), lora, seed=seed)
        return train(model, make_examples(10), settings, pad_token_id=0, seed=seed,
                     scratch=tmp_path).losses  # fmt: skip

    first = run(3)
    assert first == run(3)
    assert first != run(4)


def test_progress_ends_at_the_total(model, tmp_path):
    seen = []
    train(
        model, make_examples(10), WarmupConfig(epochs=2, batch_size=4), pad_token_id=0, seed=0,
        scratch=tmp_path, on_progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen[-1] == (20, 20)
    assert seen == sorted(seen)


def test_a_loss_that_is_not_a_number_stops_the_training(model, tmp_path):
    with torch.no_grad():
        next(p for p in model.parameters() if p.requires_grad).fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="learning rate"):
        train(
            model, make_examples(4), WarmupConfig(epochs=1, batch_size=4), pad_token_id=0, seed=0,
            scratch=tmp_path,
        )  # fmt: skip
