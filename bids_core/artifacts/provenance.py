"""Where a result comes from: package versions, source revision, machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

_RECORDED_PACKAGES: Final = (
    "torch", "transformers", "peft", "tokenizers", "numpy", "zarr", "lm_eval", "prefect",
)  # fmt: skip


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Return the versions of Python, this package, and the packages that can change a result."""
    installed = {"python": platform.python_version()}
    for name in ("bids-select", *_RECORDED_PACKAGES):
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # an optional package that is not installed
    return installed


@lru_cache(maxsize=1)
def git_revision() -> str | None:
    """Return the revision of the source tree, with `-dirty`; None for an installed package."""
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run(
        [git, "describe", "--always", "--dirty", "--abbrev=40"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or None


def machine() -> dict[str, Any]:
    """Return what is worth knowing about the machine, except its name."""
    return {"processor": platform.processor() or platform.machine(), "cpus": os.cpu_count()}
