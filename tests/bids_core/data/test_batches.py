from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bids_core.data.batches import collate, token_budget_batches
from bids_core.records import IGNORED_LABEL, TokenizedExample

LENGTHS = st.lists(st.integers(0, 50), max_size=40)


def make(*lengths):
    return [
        TokenizedExample(
            f"r{n}",
            np.arange(1, n + 1, dtype=np.int32),
            np.where(np.arange(n) < n // 2, IGNORED_LABEL, np.arange(1, n + 1)).astype(np.int32),
        )
        for n in lengths
    ]


@given(LENGTHS, st.integers(1, 200), st.none() | st.integers(1, 6))
def test_plan_has_every_index_once_within_the_limits(lengths, budget, max_batch):
    plan = token_budget_batches(lengths, budget, max_batch=max_batch)
    assert sorted(i for batch in plan for i in batch) == list(range(len(lengths)))
    for batch in plan:
        padded = len(batch) * max(lengths[i] for i in batch)
        assert padded <= budget or len(batch) == 1
        assert max_batch is None or len(batch) <= max_batch
    flat = [lengths[i] for batch in plan for i in batch]
    assert flat == sorted(lengths, reverse=True)
    assert plan == token_budget_batches(lengths, budget, max_batch=max_batch)


@given(LENGTHS, st.integers(1, 200))
def test_no_batch_could_take_the_next_example(lengths, budget):
    plan = token_budget_batches(lengths, budget)
    for batch in plan[:-1]:
        assert (len(batch) + 1) * max(1, lengths[batch[0]]) > budget


def test_example_longer_than_the_budget_is_a_batch_of_one():
    assert token_budget_batches([3, 100, 3], 10) == [[1], [0, 2]]


@pytest.mark.parametrize("limits", [(0, None), (5, 0)])
def test_limits_below_one_are_refused(limits):
    with pytest.raises(ValueError, match="must be at least 1"):
        token_budget_batches([1], limits[0], max_batch=limits[1])


@pytest.mark.parametrize("side", ["left", "right"])
def test_collate_pads_and_keeps_every_token(side):
    examples = make(3, 5, 1)
    batch = collate(examples, pad_token_id=9, padding_side=side)
    assert {name: tuple(t.shape) for name, t in batch.items()} == dict.fromkeys(
        ("input_ids", "attention_mask", "labels"), (3, 5)
    )
    assert all(tensor.dtype == torch.int64 for tensor in batch.values())
    for i, example in enumerate(examples):
        there = batch["attention_mask"][i].bool()
        assert batch["input_ids"][i][there].tolist() == example.input_ids.tolist()
        assert batch["labels"][i][there].tolist() == example.labels.tolist()
        assert (batch["input_ids"][i][~there] == 9).all()
        assert (batch["labels"][i][~there] == IGNORED_LABEL).all()
        assert there[0 if side == "right" else -1]


def test_collate_needs_an_example():
    with pytest.raises(ValueError, match="at least one example"):
        collate([], pad_token_id=0)
