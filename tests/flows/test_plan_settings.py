"""`bids plan` on a tiny model: measured, shared, chosen, written, refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_project import Recorder, rows, write_rows

from bids_core.config.load import load_config
from bids_core.influence.stored import open_attribution
from bids_core.planning import Setting
from bids_core.selection import select
from flows.plan_settings import plan_settings
from flows.select_data import select_data
from tasks.attribution import MATRIX
from tasks.runtime.progress import reporting
from tasks.selection import read_selection


@pytest.fixture
def pool(project):
    """The tiny project with 75 rows, of which the budget takes two in five."""
    for kind, count in (("add", 35), ("max", 20), ("min", 20)):
        write_rows(project / "pool" / f"{kind}.jsonl", rows(kind, 0, count))
    path = project / "bids.yaml"
    text = path.read_text(encoding="utf-8").replace("budget: 6", "budget: 0.4  # two in five")
    text = text.replace("rows_per_shard: 12", "rows_per_shard: 100")
    path.write_text("# Mine.\n" + text, encoding="utf-8")
    return project


def planned(project, *overrides, **options):
    recorder = Recorder()
    with reporting(recorder):
        result = plan_settings(load_config(project / "bids.yaml", overrides), **options)
    return result, recorder


@pytest.mark.usefixtures("prefect_server")
def test_a_plan_is_measured_shown_and_written(pool, bids):
    own = pool / "own.yaml"
    own.write_text("- {name: small, gradients.dim: 16}\n", encoding="utf-8")
    status, out, err = bids(
        "plan", "bids.yaml", "--rows", "60", "--settings", own, "--write", "cheap.yaml",
        "--overlap", "0.3", "--json",
    )  # fmt: skip
    assert status == 0, err
    result = json.loads(out)
    found = {row["name"]: row for row in result["settings"]}
    assert result["sample"] == {
        "rows": 60, "pool_rows": 75, "picks": 24, "chance": 0.4, "warmed_up_on": "the sample",
        "judges": result["sample"]["judges"],
    }  # fmt: skip
    assert {"exact", "first checkpoint", "last layer", "rds_plus 50%", "small"} <= set(found)
    assert result["left_out"] == [
        "bm25 30%", "bm25 20%", "rds_plus 30%", "rds_plus 20%", "landmarks 8, keep 30%",
        "landmarks 15, keep 30%", "first checkpoint, bm25 40%", "first checkpoint, bm25 20%",
    ]  # fmt: skip
    assert found["exact"]["overlap"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert found["exact"]["cost"]["share"] == 1
    assert found["first checkpoint"]["cost"]["share"] == pytest.approx(0.5, abs=0.02)
    screen = found["bm25 50%"]
    assert screen["rank_correlation"]["value"] == pytest.approx(1)  # of the rows that it has
    assert 30 <= screen["n_rows"] < 60
    assert all(row["overlap"]["low"] <= row["overlap"]["value"] <= row["overlap"]["high"]
               for row in found.values())  # fmt: skip
    _as_by_hand(pool / ".bids", result)
    folder = Path(result["folder"])
    written = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    assert written | {"folder": str(folder), "figure": str(folder / "plan.png")} == result
    assert (folder / "plan.png").read_bytes().startswith(b"\x89PNG")
    text = (pool / "cheap.yaml").read_text(encoding="utf-8")
    assert text.startswith(f"# Chosen by `bids plan`: {result['chosen']} (")
    assert "# Mine." in text
    assert "# two in five" in text
    chosen = load_config(pool / "cheap.yaml")
    content = chosen.model_dump(mode="json")
    for key, value in found[result["chosen"]]["changes"].items():
        section, _, name = key.partition(".")
        assert content[section][name] == value
    status, _, err = bids("plan", "bids.yaml", "--rows", "60", "--write", "cheap.yaml")
    assert status == 2
    assert "cheap.yaml exists already; use --force" in " ".join(err.split())


def _as_by_hand(store, result):
    """The overlap of the first checkpoint alone, from the artifacts and by a selection here."""
    found = {}
    for path in (store / "attribution").glob(f"*/{MATRIX}"):
        attribution = open_attribution(path)
        if attribution.pool_rows == 60 and len(attribution.row_ids) == 60:
            record = json.loads((path.parent / "record.json").read_text(encoding="utf-8"))
            plain = record["config"]["train"]["gradients"]
            if plain["dim"] == 64 and "layers" not in plain:
                found[attribution.checkpoint_numbers] = attribution
    picks = {
        numbers: set(select(attribution.values(), 24).indices.tolist())
        for numbers, attribution in found.items()
    }
    expected = len(picks[1, 2] & picks[1,]) / 24
    (row,) = [row for row in result["settings"] if row["name"] == "first checkpoint"]
    assert row["overlap"]["value"] == expected
    assert np.isfinite(row["rank_correlation"]["value"])


@pytest.mark.usefixtures("prefect_server")
def test_on_the_whole_pool_a_plan_finds_what_runs_pick(pool):
    """The sample is the pool: what the plan does to save work must leave the picks as they are."""

    def picks(*overrides):
        config = load_config(pool / "bids.yaml", overrides)
        with reporting(Recorder()):
            result = select_data(config, until="selection")
        matrices.append(result.matrix.key)
        return set(read_selection(result.selections["bids"])["row_id"])

    matrices = []
    exact = picks()
    validated = {"n_rows": 30, "method": "bids", "validation": {"gain": {"value": 0.02}}}
    (pool / "runs" / "tiny" / "validation.json").write_text(
        json.dumps({"matrix": matrices[0], "subsets": validated}), encoding="utf-8"
    )
    first, screen = "warmup.stop_after=1", ("screen.by=bm25", "screen.keep=0.65", "screen.sample=8")
    runs = {
        "first checkpoint, bm25 65%": picks(first, *screen),
        "landmarks 15": picks("landmarks.rows=15"),
        "yours": picks("screen.by=rds_plus", "screen.keep=0.7", "screen.sample=1"),
    }
    result, recorder = planned(
        pool, "screen.by=rds_plus", "screen.keep=0.7", "screen.sample=1", rows=500, hours=9
    )
    assert recorder.computed["warmup"] == 0
    assert recorder.computed["gradients"] == 0  # those of the exact setting: the run has them
    assert result["sample"]["rows"] == result["sample"]["pool_rows"] == 75
    assert result["sample"]["picks"] == len(exact) == 30
    assert result["sample"]["warmed_up_on"] == "the pool"
    found = {row["name"]: row["overlap"]["value"] for row in result["settings"]}
    assert list(found)[-1] == "yours"
    for name, chosen in runs.items():
        assert found[name] == len(chosen & exact) / 30, name
    for row in result["settings"]:
        for end, other in (("value", "value"), ("low", "high"), ("high", "low")):
            kept, nats = row["kept"][end], row["nats"][other]
            assert (nats is None) == (kept is None)
            assert kept is None or nats == pytest.approx(0.02 * (1 - kept))
    assert result["chosen"] == "exact"
    assert result["words"][0].startswith("The exact setting fits into 9 h: it takes ")


class Expecting(Recorder):
    """Keeps what it is to expect."""

    def expect(self, work):
        """Keep the work."""
        self.work = work


@pytest.mark.usefixtures("prefect_server")
def test_it_knows_beforehand_what_it_has_to_do(pool):
    recorder = Expecting()
    with reporting(recorder):
        result = plan_settings(load_config(pool / "bids.yaml"), rows=60)
    work = recorder.work
    assert work.tokens_per_second == result["machine"]["tokens_per_second"]
    others = {f"setting {row['name']}" for row in result["settings"]} - {"setting exact"}
    assert {label for label in (*work.tokens, *work.seconds) if label.startswith("set")} == others
    exact = sum(n for label, n in work.tokens.items() if not label.startswith("setting"))
    assert work.tokens["warmup"] > 0
    assert 0 < work.tokens["setting last layer"] < exact
    assert work.tokens["setting rds_plus 50%"] > 0  # hidden states; shared with the landmarks
    shared = ("first checkpoint", "last checkpoint", "bm25 50%", "landmarks 8")
    assert all(f"setting {name}" in work.seconds for name in shared)


@pytest.mark.usefixtures("prefect_server")
def test_what_no_time_allows_is_said_and_nothing_written(pool, bids):
    status, out, err = bids(
        "plan", "bids.yaml", "--rows", "60", "--gpu", "h100", "--gpus", "2", "--hours", "1e-9",
        "--write", "cheap.yaml",
    )  # fmt: skip
    assert status == 2
    shown = " ".join(out.split())
    assert "2 x H100, 80 GB, planned" in shown
    assert "No setting fits into 1e-09 h: the fastest, " in shown
    assert "cheap.yaml was not written, because no setting was chosen" in " ".join(err.split())
    assert not (pool / "cheap.yaml").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--rows", "1"], "--rows"),
        (["--hours", "0"], "a plan needs a positive time"),
        (["--gpus", "4"], "add --gpu NAME"),
        (["--overlap", "2"], "--overlap"),
        (["--gpu", "h1000"], "--gpu h1000: unknown GPU 'h1000': did you mean h100"),
        (["--settings", "wrong.yaml"], "setting 'x': gradients.dims: unknown key; did you mean"),
        (["--settings", "none.yaml"], "--settings none.yaml: "),
        (["--settings", "bids.yaml"], "must be a list of settings"),
        (["--write", "there/cheap.yaml"], "--write there/cheap.yaml: the folder there does not"),
        (["--write", "."], "--write .: is a folder; name a file in it"),
    ],
)
def test_mistakes_are_named_before_anything_starts(project, bids, options, words):
    wrong = "- {name: x, gradients.dims: 64}"
    (project / "wrong.yaml").write_text(wrong, encoding="utf-8")
    status, _, err = bids("plan", "bids.yaml", *options)
    assert status == 2
    assert words in " ".join(err.split())
    assert not (project / ".bids").exists()


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    ("overrides", "options", "words"),
    [
        ([], {"rows": 49}, "the budget picks 19 of them, and at least 20"),
        (["selection.budget=5"], {"rows": 60}, r"at least 300 .*|the pool is too small"),
        (["selection.budget=1.0"], {}, "all rows are picked, whatever the setting"),
        (["selection.method=bm25"], {}, "bm25 picks without influence"),
        ([], {"own": [Setting("bm25 50%", "", {"gradients.dim": 9})], "rows": 60},
         "setting 'bm25 50%': this name is already used"),
        (["screen.by=bm25", "screen.keep=0.2", "screen.sample=1"], {"rows": 60},
         r"setting 'yours': screen.keep: 0.2 of 75 rows are 15, fewer than the 30 to select"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_refused_before_anything_is_computed(
    pool, overrides, options, words
):
    with pytest.raises(Exception, match=words) as caught:
        planned(pool, *overrides, **options)
    assert caught.value.exit_code == 2
    stages = {path.name for path in (pool / ".bids").glob("*") if path.name[0] != "."}
    assert stages <= {"prepare"}


def test_the_example_in_the_docs_is_a_list_of_settings():
    page = (Path(__file__).parents[2] / "docs" / "plan.md").read_text(encoding="utf-8")
    block = page.partition("```yaml\n")[2].partition("```")[0]
    assert all(isinstance(one, dict) for one in yaml.safe_load(block))
