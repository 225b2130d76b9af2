from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

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


def test_the_subspace_of_all_instances_keeps_their_inner_products(price):
    tries = importlib.import_module("controlled_lab.tries")
    generator = torch.Generator().manual_seed(0)
    instances, rows = (torch.randn(n, 50, generator=generator) for n in (4, 7))
    basis = tries.subspace(instances, 4)
    torch.testing.assert_close(basis.T @ basis, torch.eye(4))
    torch.testing.assert_close((rows @ basis) @ (instances @ basis).T, rows @ instances.T)
    less = tries.subspace(instances, 2)
    torch.testing.assert_close(less, basis[:, :2])


def test_a_loss_path_starts_at_the_base_model_and_lowers_what_it_trains_on(price):
    tries = importlib.import_module("controlled_lab.tries")
    model = importlib.import_module("controlled_lab.model")
    start = importlib.import_module("controlled_lab.start").Start.of(3)
    tokens = tries.token_rows([*start.world.validation, *start.world.pool.rows[:20]])
    groups = tries.by_task(start)
    found = tries.along(start, groups, tokens)
    with torch.no_grad():
        base = model.answer_losses(start.base, tokens)
    for task, own in enumerate(groups):
        assert found[0, task] == pytest.approx(base.numpy(), rel=1e-5)
        assert found[-1, task, own].mean() < found[0, task, own].mean()
    ends = tries.along(start, groups, tokens, ends=True)
    assert ends == pytest.approx(found[[0, -1]], rel=1e-5)
