"""A new choice is one object in one table: help, choices, cost, report, identity, docs show it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bids_core.config import RunConfig
from bids_core.errors import ConfigError
from bids_core.evaluation.metrics import METRICS, Metric, metric_label
from bids_core.gradients import TRAINING_FEATURES
from bids_core.gradients.training_features import Feature
from bids_core.influence.normalization import NORMALIZATIONS, ColumnScale, Normalization
from bids_core.planning.cost import Counts, Speed, estimate_counts
from bids_core.planning.footprint import ModelSize
from bids_core.report.glossary import method_terms
from bids_core.report.names import method_looks
from bids_core.selection import METHODS, Method, Picks, select
from bids_core.selection.names import method_label

ROOT = Path(__file__).parents[1]
COUNTS = Counts(100, 10_000, 10, 1_000, test_rows=10, test_tokens=500)


@pytest.fixture
def added():
    """Add entries to tables, and take them out again."""
    placed = []

    def _add(table, entry):
        table.add(entry)
        placed.append((table, entry.name))
        return entry

    yield _add
    for table, name in placed:
        table.remove(name)


def config(**changes):
    task = {"task": "a", "capability": "b", "path": "v.jsonl"}
    base = {"model": {"path": "m"}, "pool": [{"path": "p.jsonl"}], "validation": [task]}
    return RunConfig.model_validate(base | changes)


def properties(section):
    return RunConfig.model_json_schema()["$defs"][section]["properties"]


def costs(run):
    return {cost.stage: cost for cost in estimate_counts(run, COUNTS, speed())}


def speed():
    return Speed(1000.0, ModelSize(**dict.fromkeys(ModelSize.__dataclass_fields__, 1)))


def command_help(command):
    from flows.cli import app

    shown = CliRunner().invoke(app, [command, "--help"], catch_exceptions=False).stdout
    return " ".join(shown.replace("│", " ").split())


def docs_tables():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "write_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_selection_method(added):
    def backwards(request):
        rows = np.arange(request.n_rows)[::-1][: request.budget]
        return Picks(rows, np.zeros(len(rows)), np.full(len(rows), -1))

    with pytest.raises(ValueError, match="unknown selection method 'backwards'"):
        config(selection={"method": "backwards"})
    added(METHODS, Method(name="backwards", run=backwards, what="the last rows", label="Backwards",
                          needs="perplexities", colour="yellow"))  # fmt: skip
    run = config(selection={"method": "backwards"})
    assert select(np.eye(4), 2, method="backwards").indices.tolist() == [3, 2]
    assert "backwards" in command_help("select")
    assert "backwards" in properties("SelectionConfig")["method"]["anyOf"][0]["enum"]
    assert "backwards" in properties("SelectionConfig")["compare"]["anyOf"][0]["items"]["enum"]
    assert "`backwards`: the last rows" in properties("SelectionConfig")["method"]["description"]
    assert "perplexities" in costs(run)["representations"].basis
    assert "representations" not in costs(config())
    assert method_label("backwards") == "Backwards"
    assert method_looks(["backwards"])["backwards"].colour == "var(--yellow)"
    assert METHODS["backwards"].identity == {"method": "backwards"}
    assert method_terms(["backwards", "mine.py:pick", "no_longer_there"]) == {
        "Backwards": "Selection method: the last rows."
    }
    assert "| `backwards` | the last rows | perplexities |" in docs_tables().methods()


def test_a_normalisation(added):
    def fit(matrix, mean):
        return ColumnScale(mean, np.full(len(mean), 2.0), np.ones(len(mean), dtype=np.bool_))

    added(NORMALIZATIONS, Normalization(name="halves", what="half of it", fit=fit, center="mean",
                                        scale="2", copies=1))  # fmt: skip
    run = config(selection={"normalization": "halves"})
    values = np.random.default_rng(0).standard_normal((9, 3))
    found = select(values, 9, method="instance_max", normalization="halves")
    expected = ((values - values.mean(axis=0)) / 2).max(axis=1)
    np.testing.assert_allclose(np.sort(found.utilities), np.sort(expected))
    assert "halves" in command_help("select")
    assert "halves" in command_help("analyze")
    assert "halves" in properties("SelectionConfig")["normalization"]["enum"]
    more = costs(run)["selection"].memory_bytes - costs(config())["selection"].memory_bytes
    assert more == 8 * COUNTS.pool_rows * COUNTS.validation_rows
    assert "| `halves` | mean | 2 |" in docs_tables().normalizations()


def test_a_training_feature(added):
    import torch

    from bids_core.gradients import make_projector, trainable_slots, validation_feature
    from bids_core.gradients.extraction import GradientExtractor
    from tasks.identity import gradient_identity

    added(TRAINING_FEATURES, Feature(
        name="squares", what="squared gradients", validation="sgd", options=("damping",), passes=2,
        change=lambda inputs: lambda _slot, grads: grads**2 * inputs.options["damping"],
    ))  # fmt: skip
    run = config(gradients={"train_feature": "squares"})
    assert validation_feature("squares") == "sgd"
    assert "squares" in properties("GradientConfig")["train_feature"]["enum"]
    assert costs(run)["gradients"].seconds == 2 * costs(config())["gradients"].seconds
    assert gradient_identity(run, "train")["gradients"]["damping"] == 0.1
    assert "damping" not in gradient_identity(run, "validation")["gradients"]
    assert "`gradients.damping`" in docs_tables().features()
    model = torch.nn.Linear(3, 2, bias=False)
    extract = GradientExtractor(
        model, make_projector("none", 6, 6, 0), "squares", None, {"damping": 0.5}, None
    )
    extract.begin(2)
    (slot,) = trainable_slots(model)
    grads = torch.arange(12.0).reshape(2, 6)
    extract.take(slot, grads.clone())
    torch.testing.assert_close(extract._out_BP, grads**2 * 0.5)


def test_a_metric(added):
    from bids_core.evaluation.judges import make_judge

    def judge(_task, _rows, _limits):
        return lambda _row, answer: {"length": min(1.0, len(answer) / 10)}

    added(METRICS, Metric(name="brevity", what="short answers", label="short", judge=judge,
                          main="length", needs_reference=False,
                          identity=lambda: {"checker": 3}))  # fmt: skip
    task = {"task": "a", "capability": "b", "path": "t.jsonl", "metric": "brevity"}
    (made,) = config(test=[task]).test
    assert make_judge(made, [], code_limits=None)(None, "12345") == {"length": 0.5}
    assert "brevity" in properties("TestTask")["metric"]["enum"]
    assert "`brevity`: short answers" in properties("TestTask")["metric"]["description"]
    assert (metric_label("brevity"), metric_label("length")) == ("short", "short")
    assert "| `brevity` | short answers |" in docs_tables().metrics()
    with pytest.raises(ValueError, match="did you mean brevity"):
        config(test=[task | {"metric": "brevty"}])


def test_the_metrics_of_suites_are_named_for_people():
    named = {"acc": "accuracy", "exact_match": "exact match", "pass@1": "tests passed",
             "pass_at_1": "tests passed", "f1": "F1", "math_verify": "math-verify",
             "prompt_level_strict_acc": "instructions followed", "other": "other"}  # fmt: skip
    assert {name: metric_label(name) for name in named} == named


def test_a_name_is_given_once():
    for table in (METHODS, NORMALIZATIONS, TRAINING_FEATURES, METRICS):
        first = next(iter(table.values()))
        with pytest.raises(ValueError, match=f"a {table.kind} '{first.name}' exists already"):
            table.add(first)
    with pytest.raises(ValueError, match="already"):
        METHODS.add(Method(name="zero_shot", run=METHODS["less"].run))
    with pytest.raises(ValueError, match="not a name"):
        METHODS.add(Method(name="a b", run=METHODS["less"].run))


def test_an_unknown_name_is_one_line_with_the_nearest(tmp_path):
    from bids_core.config.load import check_config

    content = config().model_dump(mode="json")
    content["gradients"]["train_feature"] = "adma"
    with pytest.raises(ConfigError, match=r"gradients\.train_feature: unknown training feature "
                       r"'adma': did you mean adam\? known: adam, sgd") as caught:  # fmt: skip
        check_config(content)
    assert "\n" not in str(caught.value)


def test_the_tables_of_the_docs_are_up_to_date():
    """If one is not: `python docs/write_tables.py`."""
    tables = docs_tables()
    pages = {path: path.read_text() for path in (ROOT / "docs").glob("*.md")}
    assert sum(text.count("<!-- table: ") for text in pages.values()) == len(tables.TABLES)
    for path, text in pages.items():
        assert tables.written(text) == text, f"{path.name}: run python docs/write_tables.py"


def test_reading_a_configuration_imports_nothing_heavy():
    """Its choices lie beside code that does; the tables themselves need none of it."""
    code = (
        "import sys; from bids_core.config import RunConfig; RunConfig.model_json_schema();"
        "heavy = {'torch', 'transformers', 'pandas', 'prefect', 'lm_eval'} & set(sys.modules);"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
