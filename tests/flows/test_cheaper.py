"""The cheaper ways to influence, through the pipeline."""

from __future__ import annotations

import html
import json

import numpy as np
import pytest
from tiny_project import Recorder

from bids_core.config.load import load_config
from bids_core.errors import ConfigError
from bids_core.influence.stored import open_attribution
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


def page_text(project):
    return html.unescape((project / "runs" / "tiny" / "report.html").read_text())


def computed_rows(result, before):
    """Return how many pool rows' gradients were computed since, over all checkpoints."""
    old = {shard.key for part in before.gradients for shard in part.train}
    new = [s for part in result.gradients for s in part.train if s.key not in old]
    return sum(s.summary()["rows"] - s.summary()["known_rows"] for s in new)


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
    with pytest.raises(ConfigError, match=r"has 2 checkpoints, so checkpoint 3 does not exist"):
        run(project, "gradients.checkpoints=[3]")


@pytest.mark.parametrize("by", ["bm25", "rds_plus"])
def test_a_screen_computes_gradients_of_the_rows_it_keeps(project, bids, by):
    exact, _ = run(project, "selection.compare=[less,random]")
    found, recorder = run(
        project, f"screen.by={by}", "screen.keep=0.5", "screen.sample=4",
        "selection.compare=[less,random,bm25]", until="report",
    )  # fmt: skip
    rows = screened_rows(found.screen)
    assert (rows["why"] == "kept").sum() == 16
    assert recorder.computed["warmup"] == 0
    assert computed_rows(found, exact) == 0  # all are known by content
    everything = dict(zip(opened(exact).row_ids, opened(exact).values(), strict=True))
    part = opened(found)
    assert part.row_ids == rows["row_id"].tolist()
    assert part.pool_rows == 32
    for row_id, values in zip(part.row_ids, part.values(), strict=True):
        assert np.array_equal(values, everything[row_id])
    picks = read_selection(found.selections["bids"])
    assert set(picks["row_id"]) <= set(part.row_ids)
    manifest = json.loads((project / "runs" / "tiny" / "manifest.json").read_text())
    told = manifest["screen"]["words"]
    assert f"{len(rows)} of the 32 rows got gradients: 16 picked by" in told
    assert told in page_text(project)
    left_out = next(r for r in opened(exact).row_ids if r not in part.row_ids)
    status, _, error = bids("explain", "runs/tiny", left_out)
    assert status == 2
    assert "because the screen left it out" in error
    chance = read_selection(found.selections["random"])["row_id"]
    assert list(chance) == list(read_selection(exact.selections["random"])["row_id"])


def test_influence_is_inferred_from_landmarks(project):
    exact, _ = run(project)
    found, recorder = run(project, "landmarks.rows=12", until="report")
    assert computed_rows(found, exact) == 0
    part, everything = opened(found), opened(exact).values()
    assert part.row_ids == opened(exact).row_ids
    landmarks = set(screened_rows(found.screen)["row_id"])
    assert len(landmarks) == 12
    for row, row_id in enumerate(part.row_ids):
        same = np.array_equal(part.values()[row], everything[row])
        assert same == (row_id in landmarks)
        assert (part.expected_error[row] == 0) == (row_id in landmarks)
        assert (part.landmark[row] == row) == (row_id in landmarks)
        assert np.array_equal(part.values()[row], part.values()[part.landmark[row]])
    inferred = part.values()
    assert np.isfinite(inferred).all()
    assert len(read_selection(found.selections["bids"])) == 6
    assert "12 of the 32 rows got gradients; every other row takes" in page_text(project)
    screened, recorder = run(project, "landmarks.rows=12", "screen.by=landmarks", "screen.keep=0.4")
    assert recorder.computed["representations"] == 0
    rows = screened_rows(screened.screen)
    assert (rows["why"] == "kept").sum() == 12
    assert landmarks <= set(rows["row_id"])
    assert opened(screened).expected_error is None


def test_a_screen_that_keeps_too_few_rows_is_refused_before_anything_is_trained(project):
    recorder = Recorder()
    with (
        reporting(recorder),
        pytest.raises(ConfigError, match=r"0.1 of 32 rows are 3, fewer than the 6 to select"),
    ):
        overrides = ["screen.by=bm25", "screen.keep=0.1"]
        select_data(load_config(project / "bids.yaml", overrides))
    assert recorder.computed["warmup"] == 0


def test_a_wider_screen_computes_only_the_rows_that_come_in(project):
    first, _ = run(project, "screen.by=bm25", "screen.keep=0.25", "screen.sample=3")
    wider, _ = run(project, "screen.by=bm25", "screen.keep=0.5", "screen.sample=3")
    before, after = (set(screened_rows(found.screen)["row_id"]) for found in (first, wider))
    assert before < after
    assert computed_rows(wider, first) == 2 * len(after - before)  # at two checkpoints
