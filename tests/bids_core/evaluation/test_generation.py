import numpy as np
import pytest
import torch

from bids_core.evaluation.generation import generate
from bids_core.evaluation.likelihood import log_likelihoods
from bids_core.records import IGNORED_LABEL, TokenizedExample

PROMPTS = [[1, 40, 41, 42, 43, 44, 45, 46], [1, 99], [1, 300, 301, 302], [7, 8, 9, 10, 11, 12]]
REFERENCES = [[50, 2], [60, 61, 62, 63, 64, 2], [70], [80, 81, 2]]
LIMITS = [8, 3, 8, 1]


@pytest.fixture(scope="module")
def examples():
    made = []
    for prompt, reference in zip(PROMPTS, REFERENCES, strict=True):
        labels = [IGNORED_LABEL] * len(prompt) + reference
        ids = np.array(prompt + reference, dtype=np.int32)
        made.append(TokenizedExample("row", ids, np.array(labels, dtype=np.int32)))
    return made


def oracle(model, prompt, limit, stops):
    """Generate greedily one token at a time, without cache, batch or padding."""
    ids = list(prompt)
    for _ in range(limit):
        with torch.no_grad():
            token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
        if token in stops:
            break
        ids.append(token)
    return ids[len(prompt) :]


def run(model, examples, stops=(2,), tokens_per_batch=10_000, **more):
    return generate(
        model,
        examples,
        max_new_tokens=LIMITS,
        stop_ids=stops,
        tokens_per_batch=tokens_per_batch,
        **more,
    )


@pytest.mark.parametrize("tokens_per_batch", [1, 40, 10_000])
def test_equals_the_loop_whatever_the_batches(model, examples, tokens_per_batch):
    found = run(model, examples, tokens_per_batch=tokens_per_batch)
    expected = [oracle(model, p, limit, {2}) for p, limit in zip(PROMPTS, LIMITS, strict=True)]
    assert [answer.tokens for answer in found] == expected
    assert [len(answer.tokens) for answer in found][3] == 1


def test_stops_at_any_stop_token(model, examples):
    free = oracle(model, PROMPTS[0], 8, set())
    stop = next(token for token in free if token != free[0])
    found = run(model, examples, stops=(2, stop))
    assert found[0].tokens == free[: free.index(stop)]
    assert [answer.tokens for answer in found] == [
        oracle(model, p, limit, {2, stop}) for p, limit in zip(PROMPTS, LIMITS, strict=True)
    ]


@pytest.mark.parametrize("tokens_per_batch", [1, 10_000])
def test_the_reference_is_scored_as_if_it_were_alone(model, examples, tokens_per_batch):
    found = run(model, examples, tokens_per_batch=tokens_per_batch)
    alone = log_likelihoods(model, examples, tokens_per_batch=1)
    for answer, reference in zip(found, alone, strict=True):
        assert answer.reference.n_tokens == reference.n_tokens
        assert answer.reference.log_likelihood == pytest.approx(reference.log_likelihood, abs=1e-4)


def test_the_models_own_generation_config_has_no_say(model, examples):
    plain = run(model, examples)
    model.generation_config.do_sample = True
    model.generation_config.temperature = 5.0
    model.generation_config.repetition_penalty = 3.0
    model.generation_config.max_length = 5
    assert run(model, examples) == plain


def test_progress_ends_at_the_total(model, examples):
    calls = []
    run(model, examples, tokens_per_batch=20, on_progress=lambda done, n: calls.append((done, n)))
    assert calls[-1] == (4, 4)
    assert calls == sorted(calls)
