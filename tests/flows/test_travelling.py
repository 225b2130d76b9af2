"""A run that travels: nothing in its folder names a place, and it can be replayed and explained."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
import yaml
from tiny_project import Recorder, write_project

from bids_core.config.load import load_config
from tasks.runtime.progress import reporting

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def travelled(tmp_path_factory, tiny_model_folder, prefect_server):
    """A project that was run in one place and moved, with data and store, to another."""
    from flows.select_data import select_data

    here = tmp_path_factory.mktemp("made") / "project"
    here.mkdir()
    write_project(here, tiny_model_folder)
    (here / "pool" / "add.jsonl").open("a").write('{"prompt": "x", "completion": ""}\n')
    shutil.copytree(tiny_model_folder, here / "model")
    overrides = ("model.path=./model", f"store={here}/.bids", f"output_dir={here}/runs")
    settings = load_config(here / "bids.yaml", overrides)
    with reporting(Recorder()):
        select_data(settings)
    there = tmp_path_factory.mktemp("moved") / "elsewhere"
    shutil.move(here, there)
    return here, there


def texts(folder):
    """Yield what every file of a run folder says, tables included."""
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".parquet":
            yield path, pd.read_parquet(path).to_json()
        elif path.is_file() and path.suffix not in (".arrow",):
            yield path, path.read_bytes().decode("utf-8", errors="replace")


def test_no_file_of_the_folder_names_the_place_where_it_was_made(travelled):
    made, there = travelled
    for path, text in texts(there / "runs" / "tiny"):
        assert str(made) not in text.replace("\\/", "/"), path
        assert str(made.parent) not in text.replace("\\/", "/"), path


def test_no_card_of_a_trained_model_names_it(travelled):
    made, there = travelled
    cards = sorted(there.glob(".bids/finetune/*/adapter/README.md"))
    assert cards
    for path in cards:
        card = path.read_text(encoding="utf-8")
        assert "`model`" in card  # the folder's name
        assert str(made) not in card, path


@pytest.mark.parametrize("target", ["manifest.json", "config.yaml", "."])
def test_it_is_replayed_from_any_folder_and_everything_is_cached(
    travelled, target, tmp_path, monkeypatch
):
    from flows.select_data import select_data

    monkeypatch.chdir(tmp_path)
    folder = travelled[1] / "runs" / "tiny"
    recorder = Recorder()
    with reporting(recorder):
        result = select_data(load_config(folder / target))
    assert set(recorder.computed) == {"report"}
    assert result.folder == folder.resolve()
    assert list(tmp_path.iterdir()) == []


def test_overrides_of_a_replay_are_those_of_any_run(travelled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = travelled[1] / "runs" / "tiny"
    changed = load_config(folder, ["name=other", "store=mine", "selection.budget=3"])
    assert (changed.name, changed.store, changed.selection.budget) == ("other", "mine", 3)
    assert changed.output_dir == (travelled[1] / "runs").resolve()
    assert changed.pool[0].path == str(travelled[1].resolve() / "pool" / "*.jsonl")


def test_the_report_goes_into_the_folder_that_was_named(travelled, bids, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    original = travelled[1] / "runs" / "tiny"
    copy = travelled[1] / "runs" / "a copy"
    shutil.copytree(original, copy)
    before = {path: path.stat().st_mtime_ns for path in original.rglob("*")}
    (copy / "report.html").unlink()
    status, out, err = bids("report", copy)
    assert status == 0, err
    assert (copy / "report.html").is_file()
    assert str(copy) in out.replace("\n", "")
    assert {path: path.stat().st_mtime_ns for path in original.rglob("*")} == before
    assert list(tmp_path.iterdir()) == []
    status, _, err = bids("run", copy)  # a run cannot be called so
    assert status == 2
    assert "rename the folder" in err


def test_explain_works_on_a_folder_alone(travelled, bids, tmp_path):
    alone = tmp_path / "sent by mail"
    shutil.copytree(travelled[1] / "runs" / "tiny", alone)
    for row in ("rank:1", "add.jsonl:1"):
        whole = json.loads(bids("explain", travelled[1] / "runs" / "tiny", row, "--json")[1])
        status, out, err = bids("explain", alone, row, "--json")
        assert status == 0, err
        assert json.loads(out) == whole
        assert whole["texts"][whole["row_id"]].startswith("user: ")
    for part in ("pool.parquet", "validation.parquet"):
        (alone / "explain" / part).unlink()
    status, out, err = bids("explain", alone, "rank:1")
    assert status == 0
    assert "its texts are neither in the folder nor in the store" in err
    shutil.rmtree(alone / "explain" / "influence.zarr")
    status, out, err = bids("explain", alone, "rank:1")
    assert (status, out) == (2, "")
    assert "its influence is neither in the folder nor in the store" in err
    assert len(err.strip().splitlines()) == 1


def test_a_large_part_stays_in_the_store_alone(travelled, bids, monkeypatch):
    monkeypatch.setattr("tasks.explain_files.LARGEST", 10)
    folder = travelled[1] / "runs" / "tiny"
    assert bids("report", folder)[0] == 0
    assert [path.name for path in (folder / "explain").iterdir()] == ["picks"]
    assert bids("explain", folder, "rank:1")[0] == 0  # from the store


def test_the_written_configuration_is_short_and_whole(travelled):
    folder = travelled[1] / "runs" / "tiny"
    written = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert written["pool"] == [{"path": "../../pool/*.jsonl"}]
    assert written["store"] == "../../.bids"
    assert "execution" not in written
    whole = load_config(folder / "manifest.json")
    assert load_config(folder / "config.yaml") == whole


def test_a_manifest_of_an_earlier_version_is_replayed_too(travelled, tmp_path):
    folder = tmp_path / "runs" / "old"
    folder.mkdir(parents=True)
    content = json.loads((travelled[1] / "runs" / "tiny" / "manifest.json").read_text())
    content.pop("format")
    content["config"]["pool"][0]["path"] = "/data/pool/*.jsonl"
    content["config"]["store"] = ".bids"
    (folder / "manifest.json").write_text(json.dumps(content))
    settings = load_config(folder / "manifest.json")
    assert settings.name == "old"
    assert settings.output_dir == folder.parent
    assert settings.store == ".bids"
    assert settings.pool[0].path == "/data/pool/*.jsonl"


@pytest.mark.parametrize("content", ["{}", "[]", "not json", '{"config": 1, "result": {}}'])
def test_what_is_no_manifest_is_one_line(bids, tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    for command in (("run", tmp_path / "manifest.json"), ("report", tmp_path),
                    ("explain", tmp_path, "rank:1")):  # fmt: skip
        status, out, err = bids(*command)
        assert status == 2, command
        assert "manifest" in err
        assert "Traceback" not in out + err
