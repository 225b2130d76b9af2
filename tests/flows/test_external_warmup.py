"""A run on checkpoints of a training elsewhere: all after the warmup works as with our own."""

from __future__ import annotations

import json
import shutil

import foreign_trainings as foreign
import pytest
import yaml
from tiny_project import Recorder

from bids_core.config.load import load_config
from bids_core.errors import ConfigError
from flows.confinement import Confinement
from flows.select_data import select_data
from flows.validate_influence import validate_influence
from flows.work import planned_work
from tasks import warmup
from tasks.external_warmup import with_checkpoints_adapters
from tasks.runtime.progress import reporting


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_model_folder):
    folder = tmp_path_factory.mktemp("elsewhere")
    foreign.run_trainer(tiny_model_folder, folder)
    return folder


@pytest.fixture
def config(project, trained):
    """Return a function that loads the project's configuration with the checkpoints."""
    path = project / "bids.yaml"
    content = yaml.safe_load(path.read_text()) | {"warmup": {"checkpoints": str(trained)}}
    del content["lora"]  # the checkpoints' own
    path.write_text(yaml.safe_dump(content))
    return lambda *overrides: load_config(path, overrides)


def run(config, until="report"):
    recorder = Recorder()
    with reporting(recorder):
        return select_data(config, until=until), recorder


@pytest.mark.usefixtures("prefect_server")
def test_a_run_and_its_report_and_its_validation(config, project, trained):
    result, first = run(config())
    assert first.computed["gradients"] == 12
    folder = project / "runs" / "tiny"
    assert (folder / "selected" / "bids.jsonl").exists()
    assert "a training run elsewhere" in (folder / "report.html").read_text()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["config"]["lora"]["r"] == 4  # the fine-tuning's adapters follow
    tuned = json.loads(
        (result.tuned["bids"].path() / "adapter" / "adapter_config.json").read_text()
    )
    assert tuned["r"] == 4

    with reporting(Recorder()):
        found = validate_influence(config(), rows=4)
    assert found["steps"]["n_rows"] == 4

    # more rows change nothing of a warmup that knows the files alone
    with (project / "pool" / "add.jsonl").open("a") as file:
        file.write('{"prompt": "add 90 plus 1?", "completion": "91"}\n')
    grown, second = run(config(), until="attribution")
    assert grown.warm == result.warm
    assert second.computed["warmup"] == 0


@pytest.mark.usefixtures("prefect_server")
def test_the_time_left_counts_the_checkpoints_that_are_there(config):
    settings = config()
    result, _ = run(settings, until="prepare")
    work = planned_work(settings, result.data, "report")
    steps = {label for label in work.tokens if label.startswith("gradients")}
    assert steps == set(work.groups)
    assert {group for group, _ in work.groups.values()} == {
        f"gradients checkpoint {number}" for number in (1, 2)
    }
    assert settings.warmup.epochs != 2


@pytest.mark.usefixtures("prefect_server")
def test_plain_gradients_do_without_an_optimizer(config, trained, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(trained, bare)
    for file in bare.glob("*/optimizer.pt"):
        file.unlink()
    only = f"warmup.checkpoints={bare}"
    with pytest.raises(ConfigError, match="has no optimizer.pt"):
        run(config(only), until="warmup")
    result, _ = run(config(only, "gradients.train_feature=sgd"), until="attribution")
    assert result.warm.summary()["has_moments"] is False
    with pytest.raises(ConfigError, match="have no optimizer state"):
        validate_influence(config(only, "gradients.train_feature=sgd"), rows=2)


def test_check_says_it_all(config, project, bids, trained, tmp_path):
    status, out, _ = bids("check", "bids.yaml")
    assert status == 0
    assert "trained elsewhere" in out
    status, _, err = bids("check", "bids.yaml", "--set", "lora.r=8")
    assert status == 2
    assert "lora.r: 8" in err
    status, _, err = bids("check", "bids.yaml", "--set", f"warmup.checkpoints={tmp_path / 'no'}")
    assert status == 2
    assert "is not a folder" in err


def test_its_identity_is_the_content_of_the_files(config, trained, tmp_path):
    from bids_core.artifacts import Handle

    data = Handle(store="unused", stage="prepare", fingerprint="f" * 32)

    def name(*overrides):
        return warmup.identify(with_checkpoints_adapters(config(*overrides)), data).fingerprint

    copied = tmp_path / "copied"
    shutil.copytree(trained, copied)
    at_copy = f"warmup.checkpoints={copied}"
    assert name(at_copy) == name()
    assert name("seed=3", "warmup.fraction=0.5", "warmup.base_model=x") == name()
    assert name("warmup.checkpoint_rates=[1.0e-3,1.0e-4]") != name()
    assert name("model.dtype=bfloat16") != name()
    state = copied / "checkpoint-3" / "trainer_state.json"
    state.write_text(state.read_text() + "\n")
    assert name(at_copy) != name()


def test_a_confined_worker_reads_no_checkpoints_from_elsewhere(config, project, trained):
    confined = Confinement(folders=(project,), urls=())
    with pytest.raises(ConfigError, match="warmup.checkpoints.0"):
        confined.check(config("model.path=bundled:smollm2-135m-instruct"))
