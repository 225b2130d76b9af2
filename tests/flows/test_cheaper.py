"""The cheaper ways to influence, through the pipeline."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_project import Recorder

from bids_core.config.load import load_config
from bids_core.errors import ConfigError
from bids_core.influence.attribution import open_attribution
from flows.select_data import select_data
from tasks.attribution import MATRIX
from tasks.runtime.progress import reporting
from tasks.screen import screened_rows
from tasks.selection import read_selection

pytestmark = pytest.mark.usefixtures("prefect_server")


def run(project, *overrides, until="selection"):
    recorder = Recorder()
    with reporting(recorder):
        result = select_data(load_config(project / "bids.yaml", overrides), until=until)
    return result, recorder


def opened(result):
    return open_attribution(result.matrix.path() / MATRIX)


def test_first_checkpoints_of_a_warmup_that_stops_are_those_of_the_whole(project):
    whole, _ = run(project, "gradients.checkpoints=[1]")
    short, recorder = run(project, "warmup.stop_after=1")
    assert recorder.computed["warmup"] == 1
    assert short.warm.summary()["tokens"] * 2 == whole.warm.summary()["tokens"]
    assert np.array_equal(opened(short).values(), opened(whole).values())
    assert opened(whole).checkpoint_weights == [1.0]
    second, recorder = run(project, "gradients.checkpoints=[2]")
    assert recorder.computed["warmup"] == 0
    assert opened(second).checkpoint_numbers == (2,)
    both, recorder = run(project)
    assert recorder.computed["gradients"] == 0  # each checkpoint's are there
    weights = opened(both).checkpoint_weights
    mixed = weights[0] * opened(whole).values() + weights[1] * opened(second).values()
    assert np.allclose(opened(both).values(), mixed, atol=1e-6)
    with pytest.raises(ConfigError, match=r"leaves 2 checkpoints, so there is no number 3"):
        run(project, "gradients.checkpoints=[3]")


@pytest.mark.parametrize("by", ["bm25", "rds_plus", "perplexity"])
def test_a_screen_computes_gradients_of_the_rows_it_keeps(project, by):
    exact, _ = run(project, "selection.compare=[less,random]")
    found, recorder = run(
        project, f"screen.by={by}", "screen.keep=0.5", "screen.sample=4",
        "selection.compare=[less,random,bm25]", until="report",
    )  # fmt: skip
    rows = screened_rows(found.screen)
    assert (rows["why"] == "kept").sum() == 16
    assert recorder.computed["warmup"] == 0
    assert (
        sum(
            s.summary()["rows"] - s.summary()["known_rows"]
            for part in found.gradients
            for s in part.train
        )
        == 0
    )  # all known by content
    everything = dict(zip(opened(exact).row_ids, opened(exact).values(), strict=True))
    part = opened(found)
    assert part.row_ids == rows["row_id"].tolist()
    assert part.pool_rows == 32
    for row_id, values in zip(part.row_ids, part.values(), strict=True):
        assert np.array_equal(values, everything[row_id])
    picks = read_selection(found.selections["bids"])
    assert set(picks["row_id"]) <= set(part.row_ids)
    chance = read_selection(found.selections["random"])["row_id"]
    assert list(chance) == list(read_selection(exact.selections["random"])["row_id"])
