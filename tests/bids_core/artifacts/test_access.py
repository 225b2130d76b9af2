"""Whether results can be written, found out before anything is computed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from bids_core.artifacts import require_writable
from bids_core.errors import ConfigError


def test_nothing_is_left_where_something_can_be_written(tmp_path):
    require_writable(tmp_path / "new" / "deep", key="store")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_is_no_folder(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"store: .* is not writable \(Not a directory\)"):
        require_writable(tmp_path / name, key="store")


@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv, as root can write anywhere")
def test_a_folder_of_an_earlier_run_of_somebody_else(tmp_path):
    (tmp_path / "warmup").mkdir(mode=0o500)
    code = (
        "from pathlib import Path; from bids_core.artifacts import require_writable\n"
        f"require_writable(Path({str(tmp_path)!r}), key='store')"
    )
    drop = "-dac_override,-dac_read_search"
    as_user = ["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}"] if not os.getuid() else []
    done = subprocess.run(
        [*as_user, sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert f"({tmp_path}/warmup) is not writable (Permission denied)" in done.stderr
