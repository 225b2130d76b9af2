"""The cost model against the formulas of docs/cheaper.md."""

from __future__ import annotations

import pytest

from bids_core.config import RunConfig
from bids_core.planning.cost import Counts, rows_with_gradients, stage_tokens

COUNTS = Counts(pool_rows=1_000, pool_tokens=50_000, validation_rows=20, validation_tokens=1_000)


def tokens(**sections):
    content = {
        "model": {"path": "m"},
        "pool": [{"path": "p"}],
        "validation": [{"task": "t", "capability": "c", "path": "v"}],
        "warmup": {"epochs": 4, "fraction": 0.25},
        "selection": {"compare": []},
        "finetune": {"enabled": False},
    }
    for name, values in sections.items():
        content[name] = content.get(name, {}) | values
    config = RunConfig.model_validate(content)
    return stage_tokens(config, COUNTS), rows_with_gradients(config, COUNTS)


def test_exact():
    found, rows = tokens()
    assert found == {"warmup": 50_000, "gradients": 4 * 51_000}
    assert rows == 1_000


def test_fewer_checkpoints():
    found, _ = tokens(warmup={"stop_after": 1})
    assert found == {"warmup": 12_500, "gradients": 51_000}
    found, _ = tokens(gradients={"checkpoints": [1, 3]})
    assert found == {"warmup": 50_000, "gradients": 2 * 51_000}


def test_a_screen_by_text_costs_nothing_itself():
    found, rows = tokens(screen={"by": "bm25", "keep": 0.4, "sample": 100})
    assert rows == 460  # 400, and 60% of the random ones
    assert found == {"warmup": 50_000, "gradients": 4 * (23_000 + 1_000)}


def test_a_screen_by_hidden_states_costs_a_forward_pass():
    found, _ = tokens(screen={"by": "rds_plus", "keep": 0.4, "sample": 100})
    assert found["representations"] == pytest.approx(51_000 / 3)
    found, _ = tokens(screen={"by": "rds_plus", "keep": 0.4}, selection={"compare": ["rds_plus"]})
    assert found["representations"] == pytest.approx(51_000 / 3)  # once for both


def test_landmarks():
    found, rows = tokens(landmarks={"rows": 200})
    assert rows == 200
    assert found["gradients"] == 4 * (10_000 + 1_000)
    assert found["representations"] == pytest.approx(51_000 / 3)
    _, rows = tokens(landmarks={"rows": 200}, screen={"by": "landmarks", "keep": 0.5})
    assert rows == 600
    _, rows = tokens(landmarks={"rows": 5_000})
    assert rows == 1_000
