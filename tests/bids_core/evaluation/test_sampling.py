"""Drawn answers: transformers' own settings, and draws that do not hang on the batches."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import GenerationConfig as TheirConfig

from bids_core.config import GenerationConfig
from bids_core.evaluation.generation import generate
from bids_core.evaluation.sampling import Choice
from bids_core.records import IGNORED_LABEL, TokenizedExample

PROMPTS = [[1, 40, 41, 42, 43, 44], [1, 99], [1, 300, 301], [7, 8, 9, 10, 11, 12]]


def prompts():
    return [
        TokenizedExample(
            f"row-{n}", np.array(ids, np.int32), np.full(len(ids), IGNORED_LABEL, np.int32)
        )
        for n, ids in enumerate(PROMPTS)
    ]


def run(model, settings, *, seed=0, tokens_per_batch=10_000):
    rows = prompts()
    return [
        answer.tokens
        for answer in generate(
            model,
            rows,
            max_new_tokens=[8] * len(rows),
            stop_ids=[2],
            tokens_per_batch=tokens_per_batch,
            choices=[Choice(settings, seed, row.row_id) for row in rows],
        )
    ]


def test_draws_hang_on_seed_and_row_alone(model):
    settings = GenerationConfig(temperature=1.0, top_p=0.9)
    first = run(model, settings)
    assert run(model, settings, tokens_per_batch=1) == first
    assert run(model, settings, seed=1) != first


def test_greedy_with_a_penalty_equals_transformers(model):
    """The one setting that can be compared without drawing alike."""
    settings = GenerationConfig(repetition_penalty=1.7)
    found = run(model, settings)
    assert found != run(model, GenerationConfig())
    for ids, tokens in zip(PROMPTS, found, strict=True):
        theirs = model.generate(
            torch.tensor([ids]),
            generation_config=TheirConfig(
                max_new_tokens=8, do_sample=False, repetition_penalty=1.7, eos_token_id=2,
                pad_token_id=0,
            ),
        )[0, len(ids) :].tolist()  # fmt: skip
        assert tokens == [token for token in theirs if token != 2]


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({"temperature": 1e-4}, {3}),
        ({"temperature": 1.0, "top_k": 2}, {3, 1}),
        ({"temperature": 1.0, "top_p": 0.6}, {3}),
        ({"temperature": 1.0, "min_p": 0.3}, {3, 1}),
        ({"temperature": 1.0}, {0, 1, 2, 3}),
    ],
)
def test_what_is_drawn_from(settings, allowed):
    logits = torch.tensor([0.05, 0.25, 0.07, 0.63]).log()
    choice = Choice(GenerationConfig(**settings), 0, "row")
    assert {choice.next_token(logits, [0]) for _ in range(300)} == allowed


def test_shares_are_those_of_the_model():
    logits = torch.tensor([0.5, 0.3, 0.2]).log()
    choice = Choice(GenerationConfig(temperature=1.0), 0, "row")
    drawn = np.bincount([choice.next_token(logits, [0]) for _ in range(6000)]) / 6000
    np.testing.assert_allclose(drawn, [0.5, 0.3, 0.2], atol=0.02)


def test_what_is_drawn_from_needs_a_temperature():
    with pytest.raises(ValidationError, match="set a temperature above 0"):
        GenerationConfig(top_p=0.9)
