"""The slow oracles, as a fixture."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def oracles():
    spec = importlib.util.spec_from_file_location("oracles", Path(__file__).parent / "oracles.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
