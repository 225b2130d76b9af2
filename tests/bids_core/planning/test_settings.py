"""Which settings are tried, and what they are on a sample."""

from __future__ import annotations

import pytest

from bids_core.config import RunConfig
from bids_core.errors import ConfigError
from bids_core.planning import GPUS, Counts, ModelSize, Speed, candidates
from bids_core.planning.hardware import Machine, price
from bids_core.planning.settings import (
    Setting,
    on_sample,
    own_settings,
    shortcuts_of,
    without_shortcuts,
)

SIZE = ModelSize(
    n_parameters=10**9, n_trainable=10**7, model_bytes=2 * 10**9, hidden_size=1024, n_layers=24,
    intermediate_size=4096, query_width=1024, key_width=256, vocabulary=50_000,
    adapter_inputs=10_000,
)  # fmt: skip


def config(**sections):
    return RunConfig.model_validate(
        {"model": {"path": "any"}, "pool": [{"path": "any"}],
         "validation": [{"task": "a", "capability": "a", "path": "any"}], **sections}
    )  # fmt: skip


def names(exact, **facts):
    known = {"n_checkpoints": 4, "n_layers": 24, "pool_rows": 10_000} | facts
    return [setting.name for setting in candidates(exact, **known)]


def test_every_candidate_is_a_configuration_and_cheaper_than_the_exact_one():
    exact = config()
    found = candidates(exact, n_checkpoints=4, n_layers=24, pool_rows=10_000)
    assert [setting.name for setting in found] == [
        "exact", "first 2 checkpoints", "last checkpoint", "first checkpoint", "last 12 layers",
        "last 6 layers", "bm25 50%", "bm25 30%", "bm25 20%", "rds_plus 50%", "rds_plus 30%",
        "rds_plus 20%", "landmarks 1,000", "landmarks 1,000, keep 30%", "landmarks 2,000",
        "landmarks 2,000, keep 30%", "first checkpoint, last 12 layers",
        "first checkpoint, bm25 65%", "first checkpoint, bm25 40%", "first checkpoint, bm25 20%",
    ]  # fmt: skip
    counts = Counts(10_000, 5_000_000, 100, 50_000)
    machine = Machine("any", Speed(1000.0, SIZE))
    exact_price = price(exact, counts, machine)
    for setting in found[1:]:
        cost = price(setting.configure(exact), counts, machine)
        assert cost.work < exact_price.work, setting.name
        assert cost.disk_bytes <= exact_price.disk_bytes * 1.01, setting.name
    assert set(exact_price.stages) == {"warmup", "gradients", "attribution", "selection"}


def test_what_makes_no_sense_is_not_tried():
    assert not [name for name in names(config(), n_checkpoints=1) if "checkpoint" in name]
    assert [name for name in names(config(), n_checkpoints=3) if "checkpoints" in name] == []
    assert "last layer" in names(config(), n_layers=2)
    assert not [name for name in names(config(), n_layers=1) if "layers" in name]
    hidden = config(gradients={"train_feature": "rds_plus"})
    assert not [name for name in names(hidden) if "layers" in name]
    dots = config(gradients={"metric": "dot"})
    assert not [name for name in names(dots) if "landmarks" in name]
    assert [name for name in names(config(), pool_rows=60) if "landmarks" in name] == [
        "landmarks 8", "landmarks 8, keep 30%", "landmarks 12", "landmarks 12, keep 30%",
    ]  # fmt: skip
    large = [name for name in names(config(), pool_rows=10**6) if "landmarks" in name]
    assert large == ["landmarks 8,000", "landmarks 8,000, keep 30%"]
    elsewhere = config(warmup={"checkpoints": ["a", "b"]})
    found = {s.name: s.changes for s in candidates(elsewhere, n_checkpoints=2, n_layers=2,
                                                   pool_rows=99)}  # fmt: skip
    assert found["first checkpoint"] == {"gradients.checkpoints": [1]}


def test_shortcuts_come_off_and_are_a_setting_of_their_own():
    mine = config(
        warmup={"epochs": 4, "stop_after": 2},
        gradients={"layers": 3, "checkpoints": [2], "dim": 64},
        screen={"by": "bm25", "keep": 0.4, "sample": 5},
    )
    exact = without_shortcuts(mine)
    assert exact == config(
        warmup={"epochs": 4}, gradients={"dim": 64}, screen={"keep": 0.4, "sample": 5}
    )
    assert Setting("yours", "", shortcuts_of(mine)).configure(exact) == mine
    assert shortcuts_of(exact) == {}


def test_a_sample_has_as_large_shares_as_the_pool():
    pool = {"sample_rows": 400, "pool_rows": 40_000, "picks": 60}
    small = on_sample(
        config(warmup={"epochs": 4, "stop_after": 1, "fraction": 0.05},
               screen={"by": "bm25", "keep": 0.4, "sample": 1000}),
        **pool, own_warmup=True,
    )  # fmt: skip
    assert small.selection.budget == 60
    assert small.screen.sample == 10
    assert (small.warmup.fraction, small.warmup.stop_after) == (1.0, None)  # 2,000 rows, of 400
    assert small.gradients.checkpoints == (1,)
    shared = on_sample(config(warmup={"fraction": 0.05}), **pool, own_warmup=False)
    assert shared.warmup.fraction == 0.05
    few = on_sample(config(warmup={"fraction": 0.005}), **pool, own_warmup=True)
    assert few.warmup.fraction == pytest.approx(0.5)  # 200 rows of either
    landmarks = {"rows": 8000}, {"rows": 2000}, {"rows": 30}
    rows = [on_sample(config(landmarks=one), **pool, own_warmup=True).landmarks.rows
            for one in landmarks]  # fmt: skip
    assert rows == [80, 40, 30]
    whole = {"sample_rows": 50, "pool_rows": 50, "picks": 20, "own_warmup": True}
    same = config(landmarks={"rows": 9}, warmup={"fraction": 0.5})
    assert on_sample(same, **whole).landmarks.rows == 9
    assert on_sample(same, **whole).warmup.fraction == 0.5
    with pytest.raises(
        ConfigError, match="the warmup stops after 1, so checkpoint 2 does not exist"
    ):
        on_sample(
            config(warmup={"stop_after": 1}, gradients={"checkpoints": [2]}),
            **pool, own_warmup=True,
        )  # fmt: skip


def test_own_settings_are_dotted_or_nested():
    found = own_settings(
        [{"warmup.stop_after": 1, "screen": {"by": "bm25", "keep": 0.4}},
         {"name": "small", "gradients.dim": 512}],
        origin="own.yaml",
    )  # fmt: skip
    assert found[0].changes == {"warmup.stop_after": 1, "screen.by": "bm25", "screen.keep": 0.4}
    assert found[0].name == "warmup.stop_after=1, screen.by=bm25, screen.keep=0.4"
    assert found[1].name == "small"
    assert found[1].configure(config()).gradients.dim == 512


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["warmup.stop_after=1"], r"own.yaml: setting 1 is 'warmup.stop_after=1'"),
        ([{"gradients.dim": 9}, {"name": "x"}], "setting 2 changes nothing"),
        ([{"selection.budget": 9}], "changes selection.budget, so its picks cannot"),
        ([{"name": "exact", "gradients.dim": 9}], "'exact' is used twice"),
        ([{"gradients.dim": 9}, {"gradients.dim": 9}], "'gradients.dim=9' is used twice"),
    ],
)
def test_settings_that_cannot_be_compared_are_refused(given, words):
    with pytest.raises(ConfigError, match=words):
        own_settings(given, origin="own.yaml")


def test_a_setting_with_a_wrong_key_is_named():
    with pytest.raises(ConfigError, match=r"setting 'mine': warmup\.stop_aftr: unknown key"):
        Setting("mine", "", {"warmup.stop_aftr": 1}).configure(config())


def test_gpus_share_the_gradients_alone():
    exact, counts = config(), Counts(10_000, 5_000_000, 100, 50_000)
    one, four = (
        price(exact, counts, Machine.planned("a100-80g", SIZE, gpus=count)) for count in (1, 4)
    )
    assert four.work == one.work == pytest.approx(one.seconds)
    assert four.seconds == pytest.approx(one.seconds - 0.75 * one.stages["gradients"])
    assert Machine.planned("h100", SIZE, gpus=2).label == "2 x H100, 80 GB, planned"
    with pytest.raises(ConfigError, match="--gpu a100: unknown GPU .*a100-80g"):
        Machine.planned("a100", SIZE)
    assert GPUS["rtx4090"].gb == 24
