"""A selection method of the user's own, through the pipeline: found by its file, cached, named."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import yaml

from bids_core.config.load import load_config
from bids_core.errors import ConfigError, MethodError
from flows.compare_methods import compare_methods
from flows.select_data import select_data
from tasks.selection import read_selection

METHOD = """
import numpy as np
from bids_core.selection import Picks, selection_method

@selection_method(what="rows of the last source first", needs={needs!r})
def last_source(request):
    order = np.argsort([source != {source!r} for source in request.need_sources()], kind="stable")
    return order[: request.budget]
"""


@pytest.fixture
def own(project):
    """Write the method beside the config, which names it by a relative path."""

    def _write(source="min", needs="influence"):
        (project / "mine").mkdir(exist_ok=True)
        (project / "mine" / "methods.py").write_text(METHOD.format(source=source, needs=needs))

    _write()
    config = yaml.safe_load((project / "bids.yaml").read_text())
    config["selection"] |= {"method": "mine/methods.py:last_source", "compare": ["random"]}
    (project / "bids.yaml").write_text(yaml.safe_dump(config))
    return _write


@pytest.mark.usefixtures("prefect_server")
def test_a_run_selects_with_it_and_calls_it_by_its_name(project, own, monkeypatch, bids):
    elsewhere = project / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = load_config(project / "bids.yaml", ["selection.budget=4"])
    result = select_data(config)
    assert list(result.selections) == ["last_source", "random"]
    picks = read_selection(result.selections["last_source"])
    assert picks["source"].tolist() == ["min"] * 4
    folder = result.folder
    assert sorted(path.name for path in (folder / "selected").glob("*.jsonl")) == [
        "last_source.jsonl", "random.jsonl",
    ]  # fmt: skip
    assert set(pd.read_parquet(folder / "scores.parquet")["method"]) == {
        "zero_shot", "last_source", "random",
    }  # fmt: skip
    assert "last_source" in (folder / "report.html").read_text()
    assert str(project) not in (folder / "selected" / "README.md").read_text()
    record = result.selections["last_source"].record()["config"]["selection"]
    assert record["method"] == "last_source"
    assert len(record["code"]) == 32
    status, _, err = bids("explain", folder, "rank:1", "--json")  # a folder runs no code
    assert (status, "add --method" in err) == (2, True)
    mine = f"{project / 'mine' / 'methods.py'}:last_source"
    status, out, _ = bids("explain", folder, "rank:1", "--method", mine, "--json")
    assert (status, json.loads(out)["method"]) == (0, "last_source")

    again = select_data(config, until="selection")
    assert again.selections == result.selections
    own(source="max")
    changed = select_data(config, until="selection")
    assert changed.matrix == result.matrix
    assert changed.selections["random"] == result.selections["random"]
    picks = read_selection(changed.selections["last_source"])
    assert picks["source"].tolist() == ["max"] * 4


@pytest.mark.usefixtures("prefect_server")
def test_a_comparison_has_it_as_an_arm(project, own):
    own(needs="perplexities")
    config = load_config(project / "bids.yaml", ["selection.budget=4"])
    result = compare_methods(config, config.selection.methods, (4,), (0,))
    assert {cell.method for cell in result.cells} == {"zero_shot", "last_source", "random"}
    table = pd.read_parquet(result.folder / "comparison.parquet")
    assert table["failed"].isna().all()
    summary = json.loads((result.folder / "comparison.json").read_text())
    assert summary["main_method"] == "last_source"
    assert "last_source" in (result.folder / "comparison.html").read_text()


def test_a_check_tries_it_before_anything_is_spent(project, own, bids, monkeypatch):
    monkeypatch.chdir("/")
    status, _, err = bids("check", project / "bids.yaml", "--no-cost")
    assert (status, err.count("error:")) == (0, 0), err
    path = project / "mine" / "methods.py"
    path.write_text(path.read_text().replace(": request.budget]", ": request.budget - 1]"))
    status, _, err = bids("check", project / "bids.yaml", "--no-cost")
    assert status == 2
    assert "'last_source' returned 5 instead of 6 rows" in err
    assert "tried on 32 of your rows, with made-up influence" in err
    path.unlink()
    status, _, err = bids("check", project / "bids.yaml", "--no-cost")
    assert status == 2
    assert "methods.py:last_source' cannot be imported (FileNotFoundError" in err


@pytest.mark.usefixtures("prefect_server")
def test_a_run_tries_it_before_the_warmup(project, own):
    path = project / "mine" / "methods.py"
    path.write_text(path.read_text().replace("return order", "return 2 * order"))
    with pytest.raises(MethodError, match="the pool has rows 0 to 31"):
        select_data(load_config(project / "bids.yaml"))
    assert not (project / ".bids" / "warmup").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["selection.compare=[mine/other.py:last_source]"], "both called 'last_source'"),
        (["selection.method=mine/methods.py:random"], "the name 'random' is already used"),
        (["selection.method=mine/methods.py:zero_shot"], "the name 'zero_shot' is already used"),
        (["selection.method=mine/methods.py"], "methods.py:function"),
        (["selection.method='mine/methods.py:'"], "write package.module:function or methods.py"),
    ],
)
def test_a_name_that_can_not_be_is_refused_when_the_configuration_is_read(
    project, own, overrides, message
):
    with pytest.raises(ConfigError, match=message):
        load_config(project / "bids.yaml", overrides)


def test_a_comparison_takes_it_from_the_command_line(project, own, bids):
    status, _, err = bids("compare", project / "bids.yaml", "--methods", "mine/other.py:pick")
    assert status == 2
    assert "mine/other.py:pick' cannot be imported" in err


def test_the_form_of_the_server_offers_the_names_and_takes_ones_own():
    from prefect.utilities.callables import parameter_schema
    from prefect.utilities.schema_tools import is_valid_schema, validate
    from prefect.utilities.schema_tools.validation import ValidationError

    from bids_core.selection import METHODS

    schema = parameter_schema(compare_methods).model_dump_for_openapi()
    is_valid_schema(schema)
    by_name, with_own = schema["properties"]["methods"]["anyOf"]
    assert by_name["items"]["enum"] == list(METHODS)
    assert by_name["minItems"] == with_own["minItems"] == 1
    config = {"model": {"path": "m"}, "pool": [{"path": "p"}],
              "validation": [{"task": "a", "capability": "b", "path": "v"}],
              "selection": {"method": "mine.py:pick"}}  # fmt: skip
    validate({"config": config, "methods": ["bids", "mine.py:pick"]}, schema, raise_on_error=True)
    with pytest.raises(ValidationError, match="bidz"):
        validate({"config": config, "methods": ["bidz"]}, schema, raise_on_error=True)
