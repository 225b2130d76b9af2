"""The first line of every flow: does this machine accept the run?

The check is cheap and runs before anything is read or written: a refused run fails within a second,
with one line that names the key.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from bids_core.errors import UserError
from bids_core.selection.methods import require_methods
from flows.confinement import Confinement
from tasks.runtime.run_logs import mistakes_in_one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.artifacts import Handle
    from bids_core.config import RunConfig

GPU_REQUEST: Final = "BIDS_GPU_REQUEST"
_GIB: Final = 1 << 30


def admit(config: RunConfig, *handles: Handle) -> None:
    """Refuse a run whose configuration goes beyond what this machine allows.

    Args:
        config: the run.
        handles: artifacts named by the caller; they must be in the configuration's store.

    Raises:
        ConfigError: a path outside `BIDS_ALLOWED_PATHS`, remote code, a handle of another store.
        UserError: the run asks for more or larger GPUs than this worker has.
    """
    mistakes_in_one_line()
    confinement = Confinement.from_environment(os.environ)
    if confinement is not None:
        confinement.check(config)
        for handle in handles:
            confinement.check_path(handle.store, key=f"store of {handle.stage}")
    check_gpus(os.environ.get(GPU_REQUEST, ""))


def admit_paths(**paths: str | None) -> None:
    """Refuse paths that this machine does not allow; the message names their keys.

    Raises:
        ConfigError: a path outside `BIDS_ALLOWED_PATHS`.
    """
    mistakes_in_one_line()
    confinement = Confinement.from_environment(os.environ)
    for key, path in paths.items():
        if confinement is not None and path is not None:
            confinement.check_path(path, key=key, read_whole=key != "out")


def admit_methods(methods: Sequence[str], *, key: str) -> None:
    """Refuse selection methods that do not exist or that this machine may not run.

    Args:
        methods: names, or the user's own functions.
        key: where they are named, for the message.

    Raises:
        ConfigError: code that does not exist, or that this machine does not run.
    """
    confinement = Confinement.from_environment(os.environ)
    for method in methods:
        if confinement is not None:
            confinement.check_method(method, key=key)
    require_methods(methods)


def check_gpus(request: str) -> None:
    """Check that there are as many visible GPUs, and as large, as the job variables ask for.

    Args:
        request: `count=2 memory_gib=40`, as written by the job template; a missing value asks for
            nothing.

    Raises:
        UserError: there are too few, or they are too small.
    """
    asked = {name: float(value) for name, value in re.findall(r"(\w+)=([\d.]+)", request)}
    count, gib = int(asked.get("count", 0)), asked.get("memory_gib", 0.0)
    if not count and not gib:
        return
    import torch

    if not torch.cuda.is_available():
        msg = (
            f"the run asks for {count or 1} GPU(s), but this worker sees none; start it on "
            "a machine where nvidia-smi lists some"
        )
        raise UserError(msg)
    memory = [
        torch.cuda.get_device_properties(index).total_memory / _GIB
        for index in range(torch.cuda.device_count())
    ]
    fitting = [size for size in memory if size >= gib]
    if len(fitting) < max(count, 1):
        msg = (
            f"the run asks for {max(count, 1)} GPU(s) of {gib:g} GiB, but this worker sees "
            f"{', '.join(f'{size:.0f} GiB' for size in memory)}; change the job variables, or "
            "CUDA_VISIBLE_DEVICES of the worker"
        )
        raise UserError(msg)
