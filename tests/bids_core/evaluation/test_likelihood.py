import numpy as np
import pytest
import torch

from bids_core.evaluation.likelihood import answer_losses, log_likelihoods
from bids_core.records import IGNORED_LABEL, TokenizedExample


def oracle(model, example):
    """Score one example alone: all logits, no padding, float32."""
    ids = torch.from_numpy(example.input_ids.astype(np.int64))
    with torch.no_grad():
        log_probabilities = torch.log_softmax(model(ids[None]).logits[0].float(), dim=-1)
    picked = [
        (log_probabilities[t - 1, example.labels[t]].item(), int(log_probabilities[t - 1].argmax()))
        for t in range(1, len(ids))
        if example.labels[t] != IGNORED_LABEL
    ]
    greedy = [token for _, token in picked]
    labels = [label for label in example.labels[1:] if label != IGNORED_LABEL]
    return sum(value for value, _ in picked), len(picked), greedy == labels


@pytest.fixture(scope="module")
def examples():
    """Lengths, prompts and (for the third) two labelled turns of all kinds."""
    random = np.random.default_rng(0)
    made = []
    for index, (length, start) in enumerate([(40, 30), (7, 5), (25, 20), (2, 1), (60, 3)]):
        ids = random.integers(3, 500, length).astype(np.int32)
        labels = np.where(np.arange(length) >= start, ids, IGNORED_LABEL).astype(np.int32)
        if index == 2:
            labels[4:8] = ids[4:8]
        made.append(TokenizedExample(str(index), ids, labels))
    return made


@pytest.mark.parametrize("tokens_per_batch", [1, 64, 10_000])
def test_equals_the_oracle_whatever_the_batches(model, examples, tokens_per_batch):
    scored = log_likelihoods(model, examples, tokens_per_batch=tokens_per_batch)
    for row, example in zip(scored, examples, strict=True):
        total, count, greedy = oracle(model, example)
        assert row.log_likelihood == pytest.approx(total, abs=1e-4)
        assert (row.n_tokens, row.is_greedy) == (count, greedy)


def test_greedy_continuation_is_told(model, examples):
    prompt = examples[0].input_ids[:12].tolist()
    out = model.generate(torch.tensor([prompt]), max_new_tokens=3, do_sample=False, pad_token_id=0)
    ids = np.array(out[0].tolist(), dtype=np.int32)
    labels = np.where(np.arange(len(ids)) >= 12, ids, IGNORED_LABEL).astype(np.int32)
    scored = log_likelihoods(
        model, [TokenizedExample("g", ids, labels), examples[4]], tokens_per_batch=10_000
    )
    assert [row.is_greedy for row in scored] == [True, False]


def test_answer_loss_is_the_mean_over_labelled_tokens(model, examples):
    losses = answer_losses(model, examples, tokens_per_batch=256)
    for loss, example in zip(losses, examples, strict=True):
        total, count, _ = oracle(model, example)
        assert loss == pytest.approx(-total / count, abs=1e-5)


def test_softmax_is_in_float32_for_a_bfloat16_model(model, examples):
    """A bfloat16 log-softmax would be off by about 0.03 a token at a loss of 6."""
    half = model.to(torch.bfloat16)
    loss = answer_losses(half, examples[1:2], tokens_per_batch=256)[0]
    total, count, _ = oracle(half, examples[1])
    assert loss == pytest.approx(-total / count, abs=1e-6)


def test_progress_ends_at_the_total(model, examples):
    calls = []
    log_likelihoods(
        model, examples, tokens_per_batch=64, on_progress=lambda done, n: calls.append((done, n))
    )
    assert calls[-1] == (5, 5)
    assert calls == sorted(calls)
