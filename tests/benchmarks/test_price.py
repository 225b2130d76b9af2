from __future__ import annotations

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def price(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("controlled_lab.price")


def test_a_tenth_of_the_work_still_beats_random_and_similarity_of_hidden_states(price):
    cheap = next(s for s in price.SETTINGS if s.name == "checkpoint 1, screen bm25 40%")
    exact = next(s for s in price.SETTINGS if s.name == "exact")
    rows = {row["setting"]: row for row in price.run(3, (exact, cheap))}
    assert rows["exact"]["overlap"] == 1
    assert rows[cheap.name]["overlap"] > 0.4  # of ten seeds the lowest was 0.6
    for other in ("random", "less by rds"):
        assert rows[cheap.name]["loss"] < rows[other]["loss"] - 0.05
    lines = price.summarised(list(rows.values()))
    assert [line["setting"] for line in lines] == list(rows)
    assert set(lines[0]) >= {"cost_share", "overlap", "loss_gap", "loss_gap_low", "loss_gap_high"}


def test_gaps_are_paired_by_seed(price):
    rows = [
        {"seed": seed, "setting": name, "cost_share": share, "overlap": 1.0, "loss": loss + seed}
        for name, share, loss in (("exact", 1.0, 2.0), ("cheap", 0.1, 2.5))
        for seed in range(4)
    ]
    exact, cheap = price.summarised(rows)
    assert exact["loss_gap"] == 0
    assert cheap["loss_gap"] == pytest.approx(0.5)
    assert cheap["loss_gap_high"] == pytest.approx(0.5)
    assert cheap["loss"] == pytest.approx(4.0)
