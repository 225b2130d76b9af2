"""Cleaning the store after a comparison, beside a pipeline, and after one that broke off."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from bids_core.artifacts import ArtifactStore, collect, survey
from bids_core.config.load import load_config
from flows.compare_methods import compare_methods
from flows.select_data import select_data
from tasks.runtime.progress import reporting

pytestmark = pytest.mark.usefixtures("prefect_server")
# with an own fit a checkpoint and hidden states: artifacts that no other stage returns
EVERYTHING = ("gradients.train_feature=ekfac", "selection.compare=[rds, random]")


class Recorder:
    """Counts what was computed; may clean the store at every beginning and end of a step."""

    def __init__(self, store=None):
        self.computed, self.deleted = Counter(), []
        self._store = store

    def step(self, label, unit):
        self._clean()
        return lambda done, total: None

    def end(self, label, *, seconds, cached):
        if not cached:
            self.computed[label.split()[0]] += 1
        self._clean()

    def _clean(self):
        if self._store is not None:
            found = collect(self._store)
            self.deleted += [handle.key for handle in found.unused] + list(found.drafts)


def test_after_a_comparison_nothing_is_computed_again(project):
    config = load_config(project / "bids.yaml", EVERYTHING)
    arguments = (config, ("bids", "rds"), (4,), (0, 1))
    compare_methods(*arguments)
    store = ArtifactStore(config.store)
    assert {handle.stage for handle in store.ls()} >= {"curvature", "representations"}
    assert collect(store).unused == ()
    again = Recorder()
    with reporting(again):
        compare_methods(*arguments)
    assert again.computed == {"comparison": 1}
    named = json.loads((project / "runs" / "tiny" / "comparison.json").read_text())["artifacts"]
    assert named == sorted(handle.key for handle in store.ls())


def test_a_run_takes_no_harm_from_a_store_that_is_cleaned_all_the_time(project):
    config = load_config(project / "bids.yaml", EVERYTHING)
    store = ArtifactStore(config.store)
    cleaning = Recorder(store)
    with reporting(cleaning):
        select_data(config)
    assert cleaning.deleted == []
    assert cleaning.computed["evaluation"] == 4
    again = Recorder(store)
    with reporting(again):
        select_data(config)
    assert (again.computed, again.deleted) == ({"report": 1}, [])
    manifest = json.loads((project / "runs" / "tiny" / "manifest.json").read_text())
    assert manifest["artifacts"] == sorted(handle.key for handle in store.ls())


def test_a_run_that_broke_off_goes_on_from_what_it_has(project, monkeypatch):
    config = load_config(project / "bids.yaml")
    store = ArtifactStore(config.store)
    with monkeypatch.context() as patch:
        patch.setattr("flows.select_data.run_analysis", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            select_data(config)
    assert survey(store).runs[0].state == "failed"
    assert collect(store).unused == ()
    again = Recorder()
    with reporting(again):
        select_data(config, until="selection")
    assert again.computed == {"analysis": 1, "report": 1}


def test_a_report_written_again_still_names_what_the_run_refers_to(project, bids):
    select_data(load_config(project / "bids.yaml"), until="selection")
    path = project / "runs" / "tiny" / "manifest.json"
    before = json.loads(path.read_text())["artifacts"]
    assert bids("report", "runs/tiny")[0] == 0
    assert json.loads(path.read_text())["artifacts"] == before != []


def test_the_command_says_what_and_why(project, bids):
    select_data(load_config(project / "bids.yaml"), until="selection")
    select_data(load_config(project / "bids.yaml", ("selection.budget=4",)), until="selection")
    status, out, _ = bids("store", "gc")
    assert status == 0
    assert "run tiny (done): keeps" in out
    assert out.count("no run refers to it") == 4  # three selections and their analysis
    assert "would be deleted with --delete" in out
    assert bids("store", "gc", "--delete")[0] == 0
    status, out, _ = bids("store", "gc", "--json")
    assert (status, json.loads(out)["unused"]) == (0, [])
    assert json.loads(out)["runs"] == ["run tiny"]
