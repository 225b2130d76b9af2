"""A pool that changes keeps its warmup, and only what is new is computed."""

from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import pytest
from tiny_project import Recorder, rows, write_rows

from bids_core.config.load import load_config
from bids_core.influence.stored import open_attribution
from flows.select_data import select_data
from tasks.attribution import MATRIX
from tasks.runtime.progress import reporting

pytestmark = pytest.mark.usefixtures("prefect_server")
REUSE = "warmup.when_pool_changes=reuse"


def run(project, *overrides, until="attribution"):
    recorder = Recorder()
    with reporting(recorder):
        result = select_data(load_config(project / "bids.yaml", overrides), until=until)
    return result, recorder


def computed_rows(result, before):
    """Return how many rows' gradients were computed since: by split, over all checkpoints."""
    old = {h.key for part in before.gradients for h in (*part.train, *part.validation)}
    found = {"train": 0, "validation": 0}
    for part in result.gradients:
        for split in found:
            for handle in getattr(part, split):
                if handle.key not in old:
                    summary = handle.summary()
                    found[split] += summary["rows"] - summary["known_rows"]
    return found


def influence(result):
    opened = open_attribution(result.matrix.path() / MATRIX)
    return dict(zip(opened.row_ids, opened.values(), strict=True))


def test_new_rows_cost_their_own_gradients_wherever_they_are_put(project, caplog):
    first, _ = run(project, REUSE)
    content = rows("max", 0, 8)
    write_rows(project / "pool" / "max.jsonl", [*content[:3], *rows("max", 30, 32), *content[3:]])
    with caplog.at_level(logging.INFO):
        grown, recorder = run(project, REUSE, until="selection")
    assert grown.warm == first.warm
    assert recorder.computed["warmup"] == 0
    assert computed_rows(grown, first) == {"train": 4, "validation": 0}  # two, at two checkpoints
    assert "5.9% of the pool (2 of 34 rows) is newer than the warmup" in caplog.text
    manifest = json.loads((project / "runs" / "tiny" / "manifest.json").read_text())
    assert manifest["warmup"]["artifact"] == first.warm.key
    assert manifest["warmup"]["coverage"]["new_rows"] == 2
    assert "is newer than the warmup" in (project / "runs" / "tiny" / "report.html").read_text()

    # what was taken over is what computing all of it gives
    (project / ".bids" / ".rows").rename(project / "rows-aside")
    for part in grown.gradients:
        for handle in part.train:
            shutil.rmtree(handle.path())
    shutil.rmtree(grown.matrix.path())
    anew, _ = run(project, REUSE)
    assert anew.matrix == grown.matrix
    one, other = influence(grown), influence(anew)
    assert list(one) == list(other)
    np.testing.assert_allclose(np.stack(list(one.values())), np.stack(list(other.values())),
                               atol=2e-3)  # fmt: skip


def test_rows_in_front_leave_the_shards_behind_them_as_they_are(project):
    first, _ = run(project, REUSE)
    write_rows(project / "pool" / "aaa.jsonl", rows("max", 30, 32))
    grown, recorder = run(project, REUSE)
    for before, after in zip(first.gradients, grown.gradients, strict=True):
        assert after.train[1:] == before.train
        assert after.validation == before.validation
    assert recorder.computed["gradients"] == 2
    assert recorder.cached["gradients"] == 12
    again, second = run(project, REUSE)
    assert again.gradients == grown.gradients
    assert second.computed["gradients"] == 0


def test_a_row_that_leaves_costs_nothing(project):
    first, _ = run(project, REUSE)
    write_rows(project / "pool" / "add.jsonl", rows("add", 1, 20))
    less, recorder = run(project, REUSE)
    assert less.warm == first.warm
    assert recorder.computed["warmup"] == 0
    assert computed_rows(less, first) == {"train": 0, "validation": 0}


def test_other_validation_rows_cost_their_own_gradients(project):
    first, _ = run(project, REUSE)
    write_rows(project / "validation" / "add.jsonl", rows("add", 51, 54))
    changed, _ = run(project, REUSE)
    assert changed.warm == first.warm
    assert computed_rows(changed, first) == {"train": 0, "validation": 2}


def test_a_task_that_is_added_costs_its_rows(project):
    config = load_config(project / "bids.yaml", [REUSE])
    fewer = config.model_copy(update={"validation": config.validation[:2], "test": ()})
    with reporting(Recorder()):
        first = select_data(fewer, until="attribution")
    more, recorder = run(project, REUSE)
    assert recorder.computed["warmup"] == 0
    assert computed_rows(more, first) == {"train": 0, "validation": 6}


def test_the_fisher_matrix_stays_as_well(project):
    ekfac = "gradients.train_feature=ekfac"
    first, _ = run(project, REUSE, ekfac)
    write_rows(project / "pool" / "aaa.jsonl", rows("max", 30, 32))
    grown, _ = run(project, REUSE, ekfac)
    assert computed_rows(grown, first) == {"train": 4, "validation": 0}


def test_too_many_new_rows_or_other_settings_train_again(project):
    first, _ = run(project, REUSE)
    write_rows(project / "pool" / "new.jsonl", rows("max", 40, 52))
    renewed, recorder = run(project, REUSE, until="warmup")
    assert recorder.computed["warmup"] == 1
    assert renewed.warm != first.warm
    write_rows(project / "pool" / "newer.jsonl", rows("min", 40, 41))
    kept, _ = run(project, REUSE, until="warmup")
    assert kept.warm == renewed.warm  # the nearer of the two
    _, recorder = run(project, REUSE, "lora.r=3", until="warmup")
    assert recorder.computed["warmup"] == 1
    _, recorder = run(project, until="warmup")
    assert recorder.computed["warmup"] == 1  # `renew`, the default


def test_a_share_of_the_pool_is_renewed_only_when_its_own_rows_change(project):
    half = "warmup.fraction=0.5"
    first, _ = run(project, half, until="warmup")
    sampled = set(first.warm.summary()["row_ids"])
    assert 0 < len(sampled) < 32
    for number in range(60, 80):
        write_rows(project / "pool" / "new.jsonl", rows("min", number, number + 1))
        grown, _ = run(project, half, until="warmup")
        trained = set(grown.warm.summary()["row_ids"])
        assert sampled <= trained
        assert (grown.warm == first.warm) == (trained == sampled)
        if grown.warm == first.warm:
            break
    else:
        pytest.fail("every new row was sampled")


def test_a_shard_that_was_cleaned_away_is_no_place_to_look(project):
    first, _ = run(project, REUSE)
    for part in first.gradients:
        for handle in part.train:
            shutil.rmtree(handle.path())
    write_rows(project / "pool" / "max.jsonl", rows("max", 0, 9))
    grown, _ = run(project, REUSE)
    assert computed_rows(grown, first) == {
        "train": 18,
        "validation": 0,
    }  # of one shard; the others are as before
    markers = [path for path in (project / ".bids" / ".rows").rglob("*") if path.is_file()]
    assert {path.name for path in markers} >= {
        handle.fingerprint for part in grown.gradients for handle in part.train
    }
