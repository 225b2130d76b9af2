"""`bids validate` on a tiny model: computed, resumed, kept, said."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from bids_core.config.load import load_config
from bids_core.errors import BidsError, ConfigError
from bids_core.influence.stored import open_attribution
from flows import cell_queue
from flows.gpu_stage import _checked
from flows.validate_influence import validate_influence
from tasks import finetune
from tasks.runtime.progress import reporting
from tasks.runtime.stage import stage_task
from tasks.steps import StepRows
from tasks.validation import SubsetsFailedError


class Recorder:
    """Counts what was computed and what was cached."""

    def __init__(self):
        self.computed, self.cached = Counter(), Counter()

    def step(self, label, unit):
        return lambda done, total: None

    def end(self, label, *, seconds, cached):
        (self.cached if cached else self.computed)[label.split()[0]] += 1


def run(project, *overrides, **options):
    recorder = Recorder()
    with reporting(recorder):
        return validate_influence(
            load_config(project / "bids.yaml", overrides), **options
        ), recorder


@pytest.mark.usefixtures("prefect_server")
def test_quick_form_is_measured_once_and_a_larger_sample_goes_on(project):
    result, first = run(project, rows=20)
    assert first.computed["single"] == 1  # two parts, shown as one step
    assert first.computed["warmup"] == 1
    steps = result["steps"]
    assert steps["n_rows"] == 20
    assert list(steps["correlations"]) == [
        "first_order", "feature", "cosine", "projected", "stored", "run", "all_checkpoints",
    ]  # fmt: skip
    # float32 throughout: the run's own influence is that of the same checkpoint, as stored
    assert steps["correlations"]["run"]["value"] == pytest.approx(
        steps["correlations"]["stored"]["value"], abs=1e-3
    )
    assert steps["correlations"]["first_order"]["value"] > 0.8  # steps are small
    again, second = run(project, rows=20)
    assert again["steps"] == steps
    assert set(second.computed) == {"validation"}
    larger, third = run(project, rows=32)
    assert third.computed["single"] == 1
    assert len(list((project / ".bids" / "steps").iterdir())) == 3  # 16, 4 and the other 16
    assert larger["steps"]["n_rows"] == 32


@pytest.mark.usefixtures("prefect_server")
def test_full_form_trains_on_random_subsets_and_finds_the_comparisons_work(project):
    result, first = run(project, rows=2, subsets=3)
    assert (first.computed["finetune"], first.computed["losses"]) == (3, 3)
    assert first.computed["evaluation"] == 0  # nothing is generated
    found = result["subsets"]
    assert (found["n_subsets"], found["n_rows"], found["failed"]) == (3, 6, [])
    assert found["test"]["words"] == [
        "3 subsets are too few for a conclusion; train on at least 20 (--subsets)."
    ]
    assert result["steps"]["words"] == [
        "2 rows are too few for a conclusion about influence; measure at least 20 (--rows)."
    ]
    _against_the_artifacts(project, found)
    _, more = run(project, rows=2, subsets=4)
    assert (more.computed["finetune"], more.computed["losses"]) == (1, 1)
    quick, _ = run(project, rows=2)
    assert quick["subsets"]["n_subsets"] == 4  # kept from the last time
    other, _ = run(project, "gradients.dim=32", rows=2)
    assert "subsets" not in other  # it was another influence


def _against_the_artifacts(project, found):
    """The score of the validation instances, worked out from the artifacts by hand."""
    store = project / ".bids"
    attribution = open_attribution(next((store / "attribution").glob("*/attribution.zarr")))
    picks = {}
    for path in (store / "selection").glob("*/selection.parquet"):
        record = json.loads((path.parent / "record.json").read_text())
        picks[path.parent.name] = (record["config"], pd.read_parquet(path)["row_id"].tolist())
    trained = {}
    for path in (store / "losses").glob("*/losses.parquet"):
        tuned = json.loads((path.parent / "record.json").read_text())["inputs"]["finetune"]
        used = json.loads((store / "finetune" / tuned / "record.json").read_text())["uses"]
        (selection,) = [key.split("/")[1] for key in used if key.startswith("selection/")]
        frame = pd.read_parquet(path).query("split == 'validation'").set_index("row_id")["loss"]
        trained[selection] = frame.loc[attribution.validation_ids].to_numpy()
    rows = {name: i for i, name in enumerate(attribution.row_ids)}
    values = attribution.values()
    sums = np.stack([values[[rows[r] for r in picks[s][1]]].sum(axis=0) for s in trained])
    losses = np.stack(list(trained.values()))
    rho = [spearmanr(sums[:, j], -losses[:, j]).statistic for j in range(losses.shape[1])]
    assert found["validation"]["lds"]["value"] == pytest.approx(np.mean(rho), abs=1e-6)


@pytest.mark.usefixtures("prefect_server")
def test_the_command_says_it_writes_it_and_puts_it_into_the_report(project, bids):
    bids("run", project / "bids.yaml", "--until", "selection")
    status, out, err = bids("validate", project / "bids.yaml", "--rows", "24", "--json")
    assert status == 0, err
    result = json.loads(out)
    folder = Path(result["folder"])
    written = json.loads((folder / "validation.json").read_text(encoding="utf-8"))
    assert written | {"folder": str(folder)} == result  # the file names no place
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Can the influence be trusted?" in page
    status, out, _ = bids("validate", project / "bids.yaml", "--rows", "24")
    assert status == 0
    shown = " ".join(out.split())
    assert "Single steps on 24 rows from checkpoint 1" in shown
    assert result["steps"]["words"][0] in shown


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--rows", "1"], "--rows"),
        (["--subsets", "20"], "--subsets needs --full"),
        (["--learning-rate", "0"], "needs a positive learning rate"),
    ],
)
def test_mistakes_are_named_before_anything_starts(project, bids, options, words):
    status, _, err = bids("validate", project / "bids.yaml", *options)
    assert status == 2
    assert words in " ".join(err.split())
    assert not (project / ".bids").exists()


@pytest.mark.usefixtures("prefect_server")
def test_a_checkpoint_that_is_not_there_and_a_budget_of_everything_are_refused(project):
    with pytest.raises(ConfigError, match="checkpoints with gradients, 1, 2"):
        run(project, rows=2, checkpoint=3)
    with pytest.raises(ConfigError, match="the whole pool has no random subsets"):
        run(project, "selection.budget=1.0", rows=2, subsets=3)


def test_a_worker_understands_what_it_is_handed(tmp_path):
    handle = {"store": str(tmp_path), "stage": "warmup", "fingerprint": "a" * 32}
    part = StepRows(checkpoint=1, learning_rate=1e-3, rows=(3, 1), part=1, parts=2)
    found = _checked(
        "steps", {"data": handle, "warm": handle, "part": part.model_dump(mode="json")}
    )
    assert found["part"] == part
    found = _checked("losses", {"data": handle, "tuned": None, "method": "random 4 rows seed 0"})
    assert found["tuned"] is None


@pytest.mark.usefixtures("prefect_server")
def test_failed_trainings_are_named_and_only_they_are_done_again(project, monkeypatch):
    def compute(config, data, selection, method, *, draft, progress):
        if method.endswith("seed 1"):
            raise BidsError("the disk went away")
        finetune.compute(config, data, selection, method, draft=draft, progress=progress)

    true_task = cell_queue.run_finetune
    flaky = stage_task("finetune", true_task.identify, compute, label="finetune {method}")
    monkeypatch.setattr(cell_queue, "run_finetune", flaky)
    with pytest.raises(SubsetsFailedError, match="1 of 3 training runs failed.*the disk went away"):
        run(project, rows=2, subsets=3)
    kept = json.loads((project / "runs" / "tiny" / "validation.json").read_text(encoding="utf-8"))
    assert kept["subsets"]["n_subsets"] == 2
    assert kept["subsets"]["failed"][0]["reason"] == "finetune: the disk went away"
    monkeypatch.setattr(cell_queue, "run_finetune", true_task)
    result, recorder = run(project, rows=2, subsets=3)
    assert (recorder.computed["finetune"], recorder.computed["losses"]) == (1, 1)
    assert result["subsets"]["failed"] == []
