"""The page that says where each equation is in the code names files that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_file_of_the_method_is_there():
    folder = ROOT
    for name in re.findall(r"`([\w/]+\.py)`", (ROOT / "docs" / "method.md").read_text()):
        path = ROOT / name if "/" in name else folder / name  # a second file beside the first
        assert path.is_file(), name
        folder = path.parent
