import pytest
import torch

from bids_core.evaluation.generation import generate

PROMPTS = [[1, 40, 41, 42, 43, 44, 45, 46], [1, 99], [1, 300, 301, 302], [7, 8, 9, 10, 11, 12]]


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


@pytest.mark.parametrize("tokens_per_batch", [1, 40, 10_000])
def test_equals_the_loop_whatever_the_batches(model, tokens_per_batch):
    found = generate(
        model, PROMPTS, max_new_tokens=8, stop_ids=[2], tokens_per_batch=tokens_per_batch
    )
    assert found == [oracle(model, prompt, 8, {2}) for prompt in PROMPTS]


def test_stops_at_any_stop_token(model):
    free = oracle(model, PROMPTS[0], 8, set())
    later = next(i for i, token in enumerate(free) if token != free[0])
    stop = free[later]
    found = generate(model, PROMPTS, max_new_tokens=8, stop_ids=[2, stop], tokens_per_batch=10_000)
    assert found[0] == free[: free.index(stop)]
    assert found == [oracle(model, prompt, 8, {2, stop}) for prompt in PROMPTS]


def test_the_models_own_generation_config_has_no_say(model):
    plain = generate(model, PROMPTS, max_new_tokens=8, stop_ids=[2], tokens_per_batch=10_000)
    model.generation_config.do_sample = True
    model.generation_config.temperature = 5.0
    model.generation_config.repetition_penalty = 3.0
    model.generation_config.max_length = 5
    changed = generate(model, PROMPTS, max_new_tokens=8, stop_ids=[2], tokens_per_batch=10_000)
    assert changed == plain
