"""Where rows come from, without paths of this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def relative_location(location: str, folder: Path) -> str:
    """Return a location (`file:line`) as seen from a folder."""
    return os.path.relpath(location, folder) if os.path.isabs(location) else location
