"""Python in the pages that needs no model runs as it stands there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_first_block_runs(page, tmp_path, monkeypatch, capsys):
    """On the notebook's matrix: both read `matrix.parquet`, and the second `tasks.csv`."""
    for name in ("matrix.parquet", "tasks.csv"):
        shutil.copy(ROOT / "docs" / "notebook" / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    code = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))[0]
    assert "from bids_core import analyze, explain, select" in code
    exec(compile(code, page, "exec"), {})  # noqa: S102 - it is our own page
    if "savefig" in code:
        assert (tmp_path / "influence.png").stat().st_size > 1000
        assert "pick 1 of 45" in capsys.readouterr().out
