"""The distributions, built once from a copy of the checkout."""

from __future__ import annotations

import subprocess
import sys

import pytest
from distribution.environments import Environment, clean_environment, copy_sources


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """A copy of the checkout's files."""
    return copy_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="session")
def built(sources, tmp_path_factory):
    """The sdist, and the wheel that is built from it: (wheel, sdist)."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", folder, sources]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "would be ignored" not in done.stdout + done.stderr
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="session")
def wheel_environment(built, tmp_path_factory):
    """An environment with the wheel."""
    return Environment(tmp_path_factory.mktemp("from-wheel") / "env").install(built[0])


@pytest.fixture(scope="session")
def sdist_environment(built, tmp_path_factory):
    """An environment with the sdist."""
    return Environment(tmp_path_factory.mktemp("from-sdist") / "env").install(built[1])


@pytest.fixture
def empty(tmp_path):
    """An empty folder."""
    return tmp_path
