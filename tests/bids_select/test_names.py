"""Our packages win over folders of the same names, or say in one line why they cannot."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tiny_project import own_folders

FLOWS = ("compare_methods", "gpu_stage", "gradient_shards", "select_data", "select_matrix")


def python(*arguments, folder, **env):
    """Run Python in a folder that it searches first, as `python -m` has it, and by PYTHONPATH."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)} | env,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(params=["packages", "bare folders", "single files"])
def crowded(request, tmp_path):
    """A folder with `flows` and `tasks` of somebody else."""
    if request.param == "single files":
        for name in ("flows", "tasks", "deployments"):
            (tmp_path / f"{name}.py").write_text("THEIRS = True\n")
    else:
        own_folders(tmp_path, packages=request.param == "packages")
    return tmp_path


def test_the_command_line_is_ours(crowded):
    done = python("-m", "bids_select", "init", "project", folder=crowded)
    assert (done.returncode, done.stderr) == (0, "")
    assert (crowded / "project" / "bids.yaml").exists()


def test_the_flows_are_ours(crowded):
    code = f"import bids_select; [getattr(bids_select, name) for name in {FLOWS}]"
    code += "; import flows, tasks.run_result; print(flows.__doc__)"
    done = python("-c", code, folder=crowded)
    assert done.stdout.strip() == "The flows and the `bids` command line.", done.stderr


@pytest.mark.parametrize(
    "code", ["bids_select.main()", "bids_select.select_data"], ids=["command", "flow"]
)
def test_theirs_imported_before_is_refused_in_one_line(crowded, code):
    done = python("-c", f"import tasks, bids_select; {code}", folder=crowded)
    line = done.stderr.strip().splitlines()[-1]
    assert f"already imported `tasks` from {crowded / 'tasks'}" in line
    assert "import bids_select first, or rename" in line
    if "main" in code:
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert line.startswith("error: ")


def test_the_search_path_is_as_before(crowded):
    code = "import sys; a = list(sys.path); import bids_select; bids_select._claim_names(); "
    done = python("-c", code + "assert sys.path == a", folder=crowded)
    assert done.returncode == 0, done.stderr
