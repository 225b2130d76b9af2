# ruff: noqa: E501 - hostile values in one line
"""Damaged and hostile configurations: a checked configuration, or one line."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import TIMES, damaged, one_line, seeds
from tiny_project import write_project

from bids_core.config import RunConfig, load_config
from bids_core.errors import ConfigError

RECIPE = """\
model: {path: org/name, chat_template: t.jinja}
pool:
  - &source {path: pool/*.jsonl, name: a, limit: 10, mapping: {prompt: "{{ q }}"}}
  - {<<: *source, name: b}
validation: [{path: v.jsonl, task: t, capability: c}]
test: [{path: t.jsonl, task: t, capability: c, metric: generation, scorer: "s.py:f"}]
lora: {target_modules: "model.*(q|v)_proj"}
data: {template_args: {enable_thinking: false}, max_length: 1_000}
selection: {budget: 15%, compare: [less, "m.py:pick"]}
evaluation: {suite_data: folder}
"""


def test_damaged_files(tmp_path):
    write_project(tmp_path, tmp_path / "model")
    goods = [(tmp_path / "bids.yaml").read_bytes(), RECIPE.encode()]
    (tmp_path / "x.yaml").write_bytes(goods[1])
    assert len(load_config(tmp_path / "x.yaml").pool) == 2
    for seed in seeds(150):
        (tmp_path / "x.yaml").write_bytes(damaged(goods[seed % 2], seed))
        with one_line(f"seed {seed}"):
            load_config(tmp_path / "x.yaml")


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = [
    LAUGHS, "a: &a [*a]", "&a {pool: *a}", "pool: &p [{path: x}, *p]", "[" * 5000, "{a: " * 3000,
    "a: !!python/object/apply:os.system ['touch RAN']", "!!python/name:os.system ''",
    "a: !!timestamp x", "a: 2001-99-99", "a: !!int x", "a: !!float x", "a: !!binary '*'",
    "a: " + "9" * 5000, "? [a] : b", "a: {<<: 3}", "<<: *x", "a: *nope", "- 1", "3", "", "\t",
    "seed: .inf", "seed: 1e999", "name: ../../x", "name: 'a/b'", "name: '\\x00'",
    "model: {path: [1]}", "pool: {path: x}", "pool: [x]", "selection: {method: [1]}",
    "selection: x", "test: [{scorer: 3}]", "model: 3", "finetune: {model: 3}", "x: " + "y" * 2**23,
    "evaluation: 3", "evaluation: {suite_data: 3}", "a: &a\n  b: *a",
]  # fmt: skip


@pytest.mark.parametrize("text", [pytest.param(t, id=str(i)) for i, t in enumerate(HOSTILE)])
def test_hostile_files(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(text)
    with one_line(text[:60]), pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "x.yaml")
    assert len(str(caught.value)) < 12_000
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize("override", ["a", "=", "a.b.c=[", "pool.7.path=x", "pool=" + "[" * 3000,
                                      "seed=!!timestamp x", "name=*x", "model.path.x=1"])  # fmt: skip
def test_hostile_overrides(tmp_path, override):
    write_project(tmp_path, tmp_path / "model")
    with one_line(override), pytest.raises(ConfigError):
        load_config(tmp_path / "bids.yaml", [override])


def keys(model):
    return st.sampled_from(sorted(model.model_fields))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["auto", "${HOME}", "../x", "hf:a/b", "-1", "1e9", "a:b", "x.py:f", "15%"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["path", "name", "task", "model", "x"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(
    max_examples=150 * TIMES, derandomize=TIMES == 1, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(data=st.data())
def test_values_of_wrong_types(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("config")
    content = write_project(folder, folder / "model")
    for _ in range(data.draw(st.integers(1, 3))):
        section = data.draw(keys(RunConfig))
        field = RunConfig.model_fields[section].annotation
        inner = content.get(section)
        if isinstance(inner, dict) and hasattr(field, "model_fields"):
            inner[data.draw(keys(field))] = data.draw(VALUES)
        else:
            content[section] = data.draw(VALUES)
    (folder / "bids.yaml").write_text(yaml.safe_dump(content))
    with one_line(str(content)):
        load_config(folder / "bids.yaml")
