"""Fresh environments with the wheel, the sdist or the image's installation in them.

The dependencies are those of the Python that runs the tests: a line in a `.pth` file makes its
site-packages visible, without its own `.pth` files, so its editable install of the checkout is not.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = ("bids_select", "bids_core", "tasks", "flows", "deployments")
DEPENDENCIES = "".join(f"{path}\n" for path in sys.path if Path(path).name == "site-packages")


def clean_environment(**changes: str) -> dict[str, str]:
    """Return the variables of this process without those that lead Python elsewhere."""
    hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    env = {n: v for n, v in os.environ.items() if n not in hidden and not n.startswith("PREFECT_")}
    return env | {"DO_NOT_TRACK": "1"} | changes


def copy_sources(target: Path) -> Path:
    """Copy what belongs to the project (no build leftovers, no data) to a folder."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # a file may be deleted and not yet committed
            copy = target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((ROOT / name).read_bytes())
    return target


class Environment:
    """A virtual environment in which the project is installed.

    Args:
        folder: where it is, or goes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"

    @property
    def python(self) -> str:
        """Path of its Python."""
        return str(self.bin / "python")

    @property
    def site(self) -> Path:
        """Where pip puts packages."""
        (found,) = self.folder.glob("lib/python3*/site-packages")
        return found

    def install(self, distribution: Path) -> Environment:
        """Make the environment, and install a wheel or an sdist in it, as pip does."""
        make = [sys.executable, "-m", "venv", "--without-pip", self.folder]
        subprocess.run(make, check=True)
        pip = [sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet"]
        subprocess.run([*pip, "--no-deps", distribution], check=True, env=clean_environment())
        (self.site / "dependencies.pth").write_text(DEPENDENCIES)
        return self

    def run(self, program: str, *arguments: Any, cwd: Path, **env: str) -> str:
        """Run a program of the environment in a folder; returns what it printed."""
        done = subprocess.run(
            [self.bin / program, *map(str, arguments)], cwd=cwd, env=clean_environment(**env),
            capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, f"{program} {arguments}:\n{done.stdout}\n{done.stderr[-5000:]}"
        return done.stdout

    def imported_from(self, cwd: Path) -> set[Path]:
        """Import our packages in a folder; returns where they are."""
        names = ", ".join(PACKAGES)
        code = f"import {names}\nfor package in ({names}): print(package.__file__)"
        lines = self.run("python", "-c", code, cwd=cwd).splitlines()
        return {Path(line).parents[1] for line in lines}

    def installed(self) -> dict[str, str]:
        """Return the checksums of the installed files of our packages."""
        (record,) = self.site.glob("bids_select-*.dist-info/RECORD")
        with record.open(newline="") as lines:
            return {
                path: digest
                for path, digest, _ in csv.reader(lines)
                if path.split("/")[0] in PACKAGES and not path.endswith(".pyc")
            }
