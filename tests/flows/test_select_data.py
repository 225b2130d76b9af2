"""The flow end to end on a tiny model: what runs, what is cached, what damage does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_project import Recorder

from bids_core.artifacts import ArtifactStore
from bids_core.config.load import load_config
from bids_core.errors import ConfigError, DataError
from flows.select_data import select_data
from tasks.runtime.progress import reporting

pytestmark = pytest.mark.usefixtures("prefect_server")


def run(project, *overrides, until="report"):
    recorder = Recorder()
    with reporting(recorder):
        result = select_data(load_config(project / "bids.yaml", overrides), until=until)
    return result, recorder


def test_the_whole_run_and_what_a_second_one_recomputes(project):
    result, first = run(project)
    assert first.cached == {}
    assert first.computed == {"prepare": 1, "warmup": 1, "gradients": 12, "attribution": 1,
                              "selection": 3, "analysis": 1, "finetune": 3,
                              "evaluation": 4, "report": 1}  # fmt: skip
    folder = project / "runs" / "tiny"
    assert result.folder == folder

    picks = pd.read_parquet(folder / "ranking.parquet")
    assert picks["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    lines = [json.loads(line) for line in (folder / "selected" / "bids.jsonl").open()]
    assert [line["row_id"] for line in lines] == picks["row_id"].tolist()
    assert lines[0]["messages"][-1]["role"] == "assistant"
    from datasets import load_from_disk

    assert load_from_disk(str(folder / "selected" / "dataset"))["messages"][0][0]["role"] == "user"
    scores = pd.read_parquet(folder / "scores.parquet")
    assert set(scores["method"]) == {"zero_shot", "bids", "less", "random"}
    assert np.isfinite(scores["answer_loss"]).all()
    assert (folder / "rejects.jsonl").read_text() == ""
    assert pd.read_parquet(folder / "analysis" / "columns.parquet").shape[0] == 9
    assert not (folder / "analysis.html").exists()  # its figures are in the report
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert 'href="selected/bids.jsonl"' in page
    assert str(project) not in page
    assert "How stable are the picks?" in page
    agreement = pd.read_parquet(folder / "analysis" / "checkpoint_agreement.parquet")
    assert agreement[["first", "second"]].to_numpy().tolist() == [[0, 1]]
    assert len(pd.read_parquet(folder / "analysis" / "without_instance.parquet")) == 9
    assert picks["row_id"][0] in page
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["timings"]["warmup"]["cached"] is False

    again, second = run(project)
    assert second.computed == {"report": 1}
    assert again.selections == result.selections
    assert json.loads((folder / "manifest.json").read_text())["timings"]["warmup"]["cached"]

    _, budget = run(project, "selection.budget=4")
    assert set(budget.computed) == {"selection", "analysis", "finetune", "evaluation", "report"}
    assert budget.computed["evaluation"] == 3  # the base model's scores do not change
    smaller = pd.read_parquet(folder / "ranking.parquet")
    assert smaller["row_id"].tolist() == picks["row_id"].tolist()[:4]

    _, shards = run(project, "gradients.rows_per_shard=50", "gradients.tokens_per_batch=64")
    assert set(shards.computed) <= {"gradients", "report"}


def test_a_damaged_shard_is_recomputed_and_the_rest_is_not(project):
    result, _ = run(project, until="selection")
    shard = result.gradients[0].train[1]
    chunk = next(p for p in shard.path().rglob("*") if p.is_file() and p.stat().st_size > 500
                 and p.name != "record.json")  # fmt: skip
    chunk.write_bytes(chunk.read_bytes()[:-7])
    before = [handle.key for handle in result.selections.values()]
    again, recorder = run(project, until="selection")
    assert recorder.computed == {"gradients": 1, "report": 1}
    assert [handle.key for handle in again.selections.values()] == before
    assert not ArtifactStore(again.data.store).verify(shard)


def test_a_new_validation_task_reuses_the_other_gradients(project):
    _, first = run(
        project, "validation=[{task: add, capability: math, path: %s}]" % (
            project / "validation" / "add.jsonl"), "test=[]", until="attribution",
    )  # fmt: skip
    assert first.computed["gradients"] == 8  # 2 checkpoints x (3 train + 1 validation)
    _, second = run(project, until="attribution")
    assert second.computed["gradients"] == 4  # the two new tasks at two checkpoints
    assert second.computed["warmup"] == 0


@pytest.mark.parametrize("stage", ["prepare", "warmup"])
def test_until_stops_there(project, stage):
    result, recorder = run(project, until=stage)
    assert set(recorder.computed) <= {"prepare", "warmup", "report"}
    assert Path(result.folder, "manifest.json").exists()
    assert not Path(result.folder, "report.html").exists()


@pytest.mark.parametrize(
    ("override", "error", "words"),
    [
        ("selection.budget=500", ConfigError, "32 usable rows"),
        ("selection.budget=0.01", ConfigError, "32 usable rows"),
        ("pool.0.path=none/*.jsonl", DataError, "none"),
    ],
)
def test_a_mistake_is_refused_before_anything_costly(project, override, error, words):
    with pytest.raises(error, match=words) as caught:
        run(project, override)
    assert "\n" not in str(caught.value)
    assert not (project / ".bids" / "warmup").exists()
