"""Files of a store or run folder that are no longer small, or nested without end: one line."""

from __future__ import annotations

import pytest

from bids_core.artifacts import ArtifactStore, parse_json, read_small_json
from bids_core.artifacts.files import is_whole
from bids_core.artifacts.holders import holder_name, lives_here
from bids_core.artifacts.locks import LocalFiles
from bids_core.config.model import ModelConfig
from bids_core.data.splits import SCHEMA, PreparedData, Split
from bids_core.errors import ArtifactError, ConfigError, ModelError, UserError
from bids_core.influence.labels import read_frame, read_json, read_lines
from bids_core.models.folder import _read
from tasks.manifest import read_manifest

HUGE = 1 << 40
DEEP = b"[" * 100_000


@pytest.fixture(params=["huge", "deep"])
def spoil(request):
    """Make a file a terabyte of holes, or JSON without end."""

    def _spoil(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            if request.param == "deep":
                file.write(DEEP)
            else:
                file.truncate(HUGE)
        return path

    _spoil.kind = request.param
    return _spoil


def test_reading_one_is_a_value_error(spoil, tmp_path):
    with pytest.raises(ValueError, match="67,108,864 bytes|too deeply"):
        read_small_json(spoil(tmp_path / "x.json"))


def test_a_record_is_damage(spoil, tmp_path):
    store = ArtifactStore(str(tmp_path))
    with store.create("stage", "f" * 32, version=1, config={}, inputs={}) as draft:
        (draft.path / "x.txt").write_text("x")
    handle = store.handle("stage", "f" * 32)
    record = spoil(handle.path() / "record.json")
    assert not is_whole(record.parent)
    (problem,) = store.verify(handle)
    assert "limit" in problem or "deeply" in problem
    if spoil.kind == "deep":
        assert store.read_record(handle) == {}
    else:
        with pytest.raises(ArtifactError, match="remove it from the store"):
            store.read_record(handle)


@pytest.mark.parametrize("suffix", [".json", ".csv", ".txt"])
def test_labels_are_one_line(spoil, tmp_path, suffix):
    path = spoil(tmp_path / f"x{suffix}")
    if spoil.kind == "deep" and suffix != ".json":
        return  # a line of brackets
    read = {".json": read_json, ".csv": read_frame, ".txt": read_lines}[suffix]
    with pytest.raises(UserError, match="cannot be read as") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_manifest_is_one_line(spoil, tmp_path):
    spoil(tmp_path / "manifest.json")
    with pytest.raises(ConfigError, match="not a run's manifest") as caught:
        read_manifest(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_model_s_configuration_is_one_line(spoil, tmp_path):
    path = spoil(tmp_path / "config.json")
    with pytest.raises(ModelError, match="cannot be read"):
        _read(path, ModelConfig(path=str(tmp_path)))


@pytest.mark.parametrize("name", ["summary.json", "rejects.jsonl"])
def test_prepared_data_is_one_line(spoil, tmp_path, name):
    PreparedData(*(Split(SCHEMA.empty_table().to_pandas()) for _ in range(3))).save(tmp_path)
    spoil(tmp_path / name)
    with pytest.raises(ArtifactError, match="does not hold prepared data"):
        PreparedData.load(tmp_path)


def test_holders_that_are_nested_without_end_are_nobody():
    assert lives_here(DEEP) is None
    assert holder_name(DEEP) == "another process"
    with pytest.raises(ValueError, match="too deeply"):
        parse_json(DEEP)


def test_a_lock_of_a_terabyte_is_one_line(tmp_path):
    with (tmp_path / "lock").open("wb") as file:
        file.truncate(HUGE)
    with pytest.raises(ArtifactError, match="remove it from the store"):
        LocalFiles().read(str(tmp_path / "lock"))
    assert LocalFiles().read(str(tmp_path / "none")) is None
