"""How the work of a run divides over GPUs."""

from __future__ import annotations

import pytest

from bids_core.planning import COSTS, Counts, Fleet, bids_paper, estimate_counts, fleet_cost

CONFIG, SPEED = bids_paper(epochs=4), COSTS["bids_paper"].speed
COUNTS = Counts(288_579, 288_579 * 700, 350, 350 * 400)


def seconds(gpus, counts=COUNTS):
    cost = fleet_cost(CONFIG, counts, SPEED, Fleet(gpus))
    return cost, {part.name: part.seconds for part in cost.parts}


def test_on_one_gpu_it_is_the_cost_models():
    counted = {cost.stage: cost.seconds for cost in estimate_counts(CONFIG, COUNTS, SPEED)}
    cost, found = seconds(1)
    for stage in ("warmup", "gradients", "attribution", "selection"):
        assert found[stage] == pytest.approx(counted[stage])
    assert cost.gpu_seconds == pytest.approx(counted["warmup"] + counted["gradients"])
    assert cost.seconds == pytest.approx(sum(found.values()))


def test_gradients_divide_over_all_gpus_and_the_warmup_over_a_machines():
    _, one = seconds(1)
    _, eight = seconds(8)
    cost, many = seconds(64)
    assert eight["warmup"] == many["warmup"] == pytest.approx(one["warmup"] / 8)
    # 568 shards on 64 GPUs are 9 rounds, the last one not full
    assert many["gradients"] == pytest.approx(one["gradients"] * 9 / 568)
    assert cost.largest()[0].name == "warmup"
    assert many["prepare"] == one["prepare"]


def test_small_shards_share_a_flow_run_and_large_ones_have_their_own():
    cost, _ = seconds(8)
    assert cost.flow_runs == cost.shards == 4 * (141 + 1)
    small = CONFIG.model_copy(
        update={"gradients": CONFIG.gradients.model_copy(update={"rows_per_shard": 64})}
    )
    cost = fleet_cost(small, COUNTS, SPEED, Fleet(8))
    group = CONFIG.execution.group_seconds
    assert cost.flow_runs == pytest.approx(cost.gpu_seconds / 2 / group, rel=0.01)
    assert cost.flow_runs < cost.shards


def test_a_matrix_beyond_memory_is_read_from_disk():
    _, found = seconds(64)
    _, large = seconds(64, Counts(10_000_000, 7_000_000_000, 350, 140_000))
    assert large["selection"] / found["selection"] > 3 * 10_000_000 / 288_579
