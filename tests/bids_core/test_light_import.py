"""Selection on a matrix needs none of the heavy libraries, and does not wait for them."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "prefect",
    "transformers",
    "peft",
    "datasets",
    "lm_eval",
    "typer",
    "matplotlib",
)
SELECT = """
import numpy as np
from bids_core.selection import select
picks = select(np.random.default_rng(0).normal(size=(30, 4)), 5, method="bids")
assert len(picks.indices) == 5
"""
FACE = """
import numpy as np
from bids_core import analyze, explain, select
matrix = np.random.default_rng(0).normal(size=(30, 4))
picks = select(matrix, 5)
assert analyze(matrix, picks)._repr_html_() and picks._repr_html_()
assert explain(matrix, picks, picks[0]).rank == 1
"""


@pytest.mark.parametrize(
    "code",
    [
        "import bids_core.selection",
        "import bids_core.diagnostics.explain; from bids_core import explain; explain.__code__",
        "from bids_core import Selection, analyze, explain, select",
        SELECT,
        FACE,
        "from bids_core.normalization import normalize",
        "from bids_core.diagnostics import task_highest_influence",
        "import bids_core.influence, bids_core.models, bids_core.training, bids_core.evaluation",
    ],
    ids=["import", "explain", "face", "select", "analyse", "normalize", "diagnostics", "faces"],
)
def test_without_heavy_libraries(code):
    check = f"\nimport sys; print(*sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code + check], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
