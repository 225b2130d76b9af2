from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from pydantic import ValidationError

from bids_core.config import LoraConfig, RunConfig
from bids_core.config.load import check_config, load_config
from bids_core.errors import ConfigError

TEXT = """
model: {path: ./model}
pool: [{path: pool.jsonl}]
validation: [{task: t, capability: c, path: validation.jsonl}]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "bids.yaml"
    path.write_text(TEXT)
    return path


def test_defaults_are_those_of_the_papers(file):
    config = load_config(file)
    assert (config.lora.r, config.lora.alpha, config.lora.dropout) == (128, 512, 0.1)
    assert config.warmup.epochs == 4
    assert config.warmup.learning_rate == 2e-5
    assert config.selection.methods == ("bids", "less", "random")


def test_a_path_may_be_a_text(file):
    assert load_config(str(file)) == load_config(file)


def test_relative_paths_are_relative_to_the_file(file):
    config = load_config(file)
    assert config.pool[0].path == str(file.parent / "pool.jsonl")
    assert config.validation[0].path == str(file.parent / "validation.jsonl")
    assert Path(config.model.path) == file.parent / "model"


@pytest.mark.parametrize("path", ["/data/x.jsonl", "hf:org/name", "${DATA}/x.jsonl", "s3://b/x"])
def test_other_paths_stay_as_they_are(file, path):
    assert load_config(file, [f"pool.0.path={path}"]).pool[0].path == path


def test_overrides_reach_any_depth(file):
    config = load_config(
        file, ["selection.budget=0.05", "lora.target_modules=all-linear", "validation.0.task=new"]
    )
    assert config.selection.budget == 0.05
    assert config.lora.target_modules == "all-linear"
    assert config.validation[0].task == "new"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("selection.budgett=3", "selection.budgett: unknown key; did you mean 'budget'"),
        ("validation.0.capabilty=x", "did you mean 'capability'"),
        ("selection.budget=1.5", "selection.budget"),
        ("selection.budget=0", "selection.budget"),
        ("selection.budget=true", "selection.budget: true is read as a boolean"),
        ("warmup.learning_rate=true", "warmup.learning_rate: true is read as a boolean"),
        ("selection.method=bidz", "(got 'bidz')"),
        ("warmup.epochs=two", "warmup.epochs"),
        ("pool=[]", "pool"),
        ("nonsense", "section.key=value"),
        ("pool.path=x", "is a list"),
        ("model.path.x=1", "not a section"),
        ("pool.0.path=[", "not a valid value"),
        ("name=../escape", "name"),
    ],
)
def test_a_bad_value_is_one_line_that_names_the_key(file, override, words):
    with pytest.raises(ConfigError) as caught:
        load_config(file, [override])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: 1\nb: [1\n", "line "),
        (b"- 1\n", "mapping"),
        (b"a: \xff\n", "UTF-8"),
        (b"name: x\n", "model: this key is required"),
    ],
)
def test_an_unreadable_file_is_one_line(tmp_path, content, words):
    path = tmp_path / "bids.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="bids.yaml") as caught:
        load_config(path)
    assert words in str(caught.value)


def test_a_missing_file_points_to_init(tmp_path):
    with pytest.raises(ConfigError, match="bids init"):
        load_config(tmp_path / "nothing.yaml")


def test_one_task_has_one_capability(file):
    with pytest.raises(ConfigError, match="two capabilities"):
        load_config(file, ["test=[{task: t, capability: other, path: x}]"])


def test_a_checked_configuration_survives_json(file):
    config = load_config(file)
    assert check_config(config.model_dump(mode="json")) == config


def test_every_field_of_every_section_is_described(file):
    def walk(model):
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
        return True

    config = load_config(file)
    sections = [type(config), *(type(v) for v in dict(config).values() if hasattr(v, "model_dump"))]
    assert all(walk(section) for section in [*sections, type(config.pool[0]),
                                             type(config.validation[0])])  # fmt: skip


@pytest.mark.parametrize("seed", [-1, 2**32, 2**70])
@pytest.mark.parametrize("field", ["seed", "selection.seed", "finetune.seed", "pool.0.sample_seed"])
def test_a_seed_that_no_generator_takes_is_refused(field, seed):
    content = {
        "model": {"path": "m"},
        "pool": [{"path": "p"}],
        "validation": [{"path": "v", "task": "t", "capability": "c"}],
    }
    *sections, last = field.split(".")
    target = content
    for section in sections:
        target = target[int(section)] if section.isdigit() else target.setdefault(section, {})
    target[last] = seed
    with pytest.raises(ValidationError, match=last):
        RunConfig.model_validate(content)
    target[last] = 2**32 - 1
    RunConfig.model_validate(content)


def test_a_regular_expression_names_adapter_targets():
    assert LoraConfig(target_modules=r".*\.(q|v)_proj").target_modules == r".*\.(q|v)_proj"
    with pytest.raises(ValidationError, match="is not a regular expression"):
        LoraConfig(target_modules="(")
    with pytest.raises(ValidationError, match="name at least one layer"):
        LoraConfig(target_modules=())


def test_a_file_of_holes_is_not_read_whole(tmp_path):
    path = tmp_path / "bids.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 29)
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match=r"bids\.yaml: longer than 4,194,304 characters"):
            load_config(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 26
    finally:
        tracemalloc.stop()
