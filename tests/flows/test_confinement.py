"""What a configuration from a server may touch."""

from __future__ import annotations

import json

import pytest

from bids_core.config import RunConfig
from bids_core.errors import ConfigError
from flows.confinement import Confinement, paths_of


@pytest.fixture
def inside(tmp_path, monkeypatch):
    """A folder that is allowed, as the current one; its neighbour is not."""
    folder = tmp_path / "allowed"
    for name in ("allowed/pool", "outside"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "outside" / "secret.jsonl").write_text("{}")
    monkeypatch.chdir(folder)
    return folder


def config(**changes):
    base = {
        "model": {"path": "bundled:smollm2-135m-instruct"},
        "pool": [{"path": "pool/*.jsonl"}],
        "validation": [{"task": "a", "capability": "b", "path": "validation/a.jsonl"}],
    }
    return RunConfig.model_validate(base | changes)


def confined(folder, **environ):
    return Confinement.from_environment(
        {"BIDS_ALLOWED_PATHS": f"{folder}, s3://bucket/bids/", **environ}
    )


def test_nothing_is_confined_without_the_variable():
    assert Confinement.from_environment({}) is None
    assert Confinement.from_environment({"BIDS_ALLOWED_PATHS": " , "}) is None


def test_what_lies_inside_is_taken(inside):
    confined(inside).check(config(store="s3://bucket/bids/store", output_dir=str(inside / "runs")))
    confined(inside).check(config(model={"path": "org/name"}, pool=[{"path": "hf:org/name"}]))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"store": "/srv/elsewhere"}, "store"),
        ({"store": "s3://other/bids"}, "store"),
        ({"store": "s3://bucket/bids-of-others"}, "store"),
        ({"store": "s3://bucket/bids/../other"}, "store"),
        ({"output_dir": "../outside"}, "output_dir"),
        ({"pool": [{"path": "pool/*/../../../outside/*.jsonl"}]}, "pool.0.path"),
        ({"pool": [{"path": "pool"}, {"path": "/etc/passwd"}]}, "pool.1.path"),
        ({"pool": [{"path": "${PREFECT_API_AUTH_STRING}"}]}, "pool.0.path"),
        ({"model": {"path": "../outside"}}, "model.path"),
        ({"model": {"path": "~/model"}}, "model.path"),
        ({"evaluation": {"suite_data": "/etc"}}, "evaluation.suite_data"),
        (
            {
                "test": [
                    {
                        "task": "a",
                        "capability": "b",
                        "path": "/x",
                        "metric": "generation",
                        "scorer": "builtins:exec",
                    }
                ]
            },
            "test.0.scorer",
        ),
        ({"selection": {"method": "pathlib:Path"}}, "selection.method"),
        ({"selection": {"compare": ["less", "m.py:pick"]}}, "selection.compare.1"),
        ({"model": {"path": "a/b", "chat_template": "/etc/shadow"}}, "model.chat_template"),
        ({"test": [{"task": "a", "capability": "b", "path": "~root/x"}]}, "test.0.path"),
        ({"model": {"path": "a/b", "trust_remote_code": True}}, "model.trust_remote_code"),
    ],
)
def test_what_lies_outside_is_refused_by_name_of_its_key(inside, monkeypatch, changes, key):
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:hunter2")
    with pytest.raises(ConfigError) as caught:
        confined(inside).check(config(**changes))
    message = str(caught.value)
    assert message.startswith(f"{key}:")
    assert "\n" not in message
    assert "hunter2" not in message


def test_a_link_inside_does_not_lead_outside(inside):
    (inside / "link.jsonl").symlink_to(inside.parent / "outside" / "secret.jsonl")
    (inside / "pool" / "link.jsonl").symlink_to(inside.parent / "outside" / "secret.jsonl")
    for path in ("link.jsonl", "pool/*.jsonl", "pool"):
        with pytest.raises(ConfigError, match=r"pool\.0\.path"):
            confined(inside).check(config(pool=[{"path": path}]))


def test_links_count_in_a_models_folder_too_and_circles_end(inside):
    (inside / "model").mkdir()
    confined(inside).check(config(model={"path": str(inside / "model")}))
    (inside / "model" / "tokenizer.json").symlink_to(inside.parent / "outside" / "secret.jsonl")
    with pytest.raises(ConfigError, match=r"model\.path: .*outside the folders"):
        confined(inside).check(config(model={"path": str(inside / "model")}))
    (inside / "circle").symlink_to(inside / "circle")
    for path in ("circle", "a\x00b", "\ud800"):
        with pytest.raises(ConfigError, match=r"pool\.0\.path: "):
            confined(inside).check(config(pool=[{"path": str(inside / "circle")}]))
        with pytest.raises(ConfigError, match="matrix: .*outside the folders"):
            confined(inside).check_path(f"../{path}", key="matrix", read_whole=True)


@pytest.mark.parametrize("place", ["../outside/secret.jsonl", "/etc/passwd", "${HOME}/x.jsonl"])
def test_another_tools_file_does_not_lead_outside(inside, place):
    (inside / "dataset_info.json").write_text(json.dumps({"x": {"file_name": place}}))
    (inside / "axolotl.yaml").write_text(
        json.dumps({"datasets": [{"path": "pool", "data_files": place, "type": "alpaca"}]})
    )
    for path in ("dataset_info.json", "axolotl.yaml"):
        with pytest.raises(ConfigError, match=r"pool\.0\.path"):
            confined(inside).check(config(pool=[{"path": path}]))
    (inside / "dataset_info.json").write_text(json.dumps({"x": {"file_name": "pool/x.jsonl"}}))
    confined(inside).check(config(pool=[{"path": "dataset_info.json"}]))


def test_remote_code_and_variables_of_ours_can_be_allowed(inside, monkeypatch):
    monkeypatch.setenv("BIDS_POOL", str(inside / "pool"))
    changed = config(
        model={"path": "org/name", "trust_remote_code": True}, pool=[{"path": "${BIDS_POOL}"}]
    )
    confined(inside, BIDS_ALLOW_REMOTE_CODE="1").check(changed)


def test_methods_of_ones_own_can_be_allowed_but_lie_inside(inside):
    allowed = confined(inside, BIDS_ALLOW_REMOTE_CODE="1")
    allowed.check(config(selection={"method": str(inside / "m.py:pick"), "compare": ["bids"]}))
    allowed.check_method("package.module:pick", key="method")
    with pytest.raises(ConfigError, match=r"selection\.method: .*outside the folders"):
        allowed.check(config(selection={"method": "../outside/m.py:pick"}))
    with pytest.raises(ConfigError, match=r"methods: .*outside the folders"):
        allowed.check_method("/srv/m.py:pick", key="methods")
    with pytest.raises(ConfigError, match=r"methods: this machine does not run code"):
        confined(inside).check_method("m.py:pick", key="methods")
    confined(inside).check_method("less", key="methods")


def test_every_field_that_names_a_place_is_checked():
    """A new path in the configuration has to be added to `paths_of`."""
    source = {"path": "/p"}
    task = {"task": "a", "capability": "b", "path": "/p"}
    made = config(
        model={"path": "/m", "chat_template": "/c"}, pool=[source], validation=[task], test=[task]
    )
    places = {key.replace(".0.", ".") for key, _ in paths_of(made)}

    def named(schema, prefix=""):
        for name, field in schema["properties"].items():
            key = f"{prefix}{name}"
            inner = field.get("items", field)
            reference = inner.get("$ref")
            if reference:
                yield from named(definitions[reference.rsplit("/", 1)[-1]], f"{key}.")
            elif name.endswith(("path", "dir", "file", "folder", "store", "template")):
                yield key

    schema = RunConfig.model_json_schema()
    definitions = schema["$defs"]
    assert set(named(schema)) == places
