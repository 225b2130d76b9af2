"""Steps have the same rows whatever fits into memory."""

from __future__ import annotations

import math
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import SequentialSampler

from bids_core.config import OptimizerConfig
from bids_core.records import TokenizedExample
from bids_core.training.steps import StepBatches, step_sizes


def examples(lengths):
    return [
        TokenizedExample(row_id=str(n), input_ids=np.arange(length), labels=np.arange(length))
        for n, length in enumerate(lengths)
    ]


def steps_of(rows, settings, *, packing=False):
    """Return the rows of each optimizer step, and the sizes of the micro-batches."""
    sizes = step_sizes(rows, settings, packing=packing)
    batches = list(StepBatches(SequentialSampler(rows), sizes))
    assert len(batches) == len(StepBatches(SequentialSampler(rows), sizes))
    steps = [
        list(chain.from_iterable(batches[start : start + sizes.accumulation]))
        for start in range(0, len(batches), sizes.accumulation)
    ]
    assert len(steps) * settings.epochs == sizes.steps
    return steps, [len(batch) for batch in batches]


@given(
    n=st.integers(1, 70),
    batch_size=st.integers(1, 40),
    budget=st.integers(1, 400),
    packing=st.booleans(),
)
def test_a_step_has_the_same_rows_whatever_the_token_budget(n, batch_size, budget, packing):
    rows = examples([10] * n)
    settings = OptimizerConfig(batch_size=batch_size, epochs=1, tokens_per_batch=budget)
    steps, micro = steps_of(rows, settings, packing=packing)
    each = min(batch_size, n)
    assert [index for step in steps for index in step] == list(range(n))
    assert [len(step) for step in steps[:-1]] == [each] * (math.ceil(n / each) - 1)
    assert max(micro) <= max(1, budget // 10)
    assert steps == steps_of(rows, settings.model_copy(update={"tokens_per_batch": 10**6}))[0]


def test_a_budget_that_divides_badly_does_not_make_steps_larger():
    settings = OptimizerConfig(batch_size=32, epochs=2, tokens_per_batch=50)
    steps, micro = steps_of(examples([10] * 64), settings)
    assert [len(step) for step in steps] == [32, 32]  # seven times five rows would be 35
    assert max(micro) == 5


@pytest.mark.parametrize("world", ["2", "4"])
@pytest.mark.parametrize("budget", [10, 50, 70, 10**6])
def test_of_several_processes_too(monkeypatch, world, budget):
    monkeypatch.setenv("WORLD_SIZE", world)
    settings = OptimizerConfig(batch_size=32, epochs=1, tokens_per_batch=budget)
    sizes = step_sizes(examples([10] * 64), settings, packing=False)
    assert sizes.micro * sizes.accumulation == sizes.rows == 32 // int(world)
    assert sizes.steps == 2
    assert sizes.micro <= max(1, budget // 10)
