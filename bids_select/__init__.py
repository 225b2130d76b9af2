"""The entry point of the program and its deployments, under a name that no other folder has.

    bids run config.yaml                    the command is `bids_select:main`
    python -m bids_select run config.yaml   the same, with a Python of your choice
    from bids_select import select_rows     the pipeline in one call, from rows in memory
    from bids_select import select_data     the flows, for your own code

Prefect users often have folders of their own named `flows` and `tasks`, like our packages, and a
worker puts the folder it was started in before all installed packages, so `flows.select_data` would
be looked up in theirs. So our packages are imported here, from the folder of this package, before
anything asks for them by name.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from flows.compare_methods import compare_methods
    from flows.gpu_stage import gpu_stage
    from flows.gradient_shards import gradient_shards
    from flows.select_data import select_data
    from flows.select_matrix import select_matrix
    from flows.select_rows import RowSelection, select_rows

__all__ = [
    "RowSelection",
    "compare_methods", "gpu_stage", "gradient_shards", "main", "select_data", "select_matrix",
    "select_rows",
]  # fmt: skip

_HOME: Final = Path(__file__).resolve().parents[1]
_PACKAGES: Final = ("bids_core", "tasks", "flows", "deployments")


def main() -> None:
    """Run the command line."""
    from bids_core.errors import UserError

    try:
        _claim_names()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    from flows.cli import main as command_line

    command_line()


def __getattr__(name: str) -> Any:
    """Return a flow (or `select_rows`), imported on first use because that takes seconds."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    _claim_names()
    module = "select_rows" if name == "RowSelection" else name
    return getattr(importlib.import_module(f"flows.{module}"), name)


def _claim_names() -> None:
    """Import our packages from beside this one, whatever comes first on `sys.path`.

    Their modules are found through the packages from then on, never through `sys.path`.

    Raises:
        UserError: another package with such a name is already imported.
    """
    sys.path.insert(0, str(_HOME))
    try:
        for name in _PACKAGES:
            module = importlib.import_module(name)
            if not any(Path(folder).resolve().parent == _HOME for folder in _folders(module)):
                _refuse(name, module)
    finally:
        sys.path.remove(str(_HOME))


def _folders(module: Any) -> list[str]:
    return list(getattr(module, "__path__", ()))


def _refuse(name: str, module: Any) -> None:
    from bids_core.errors import UserError

    where = getattr(module, "__file__", None) or ", ".join(dict.fromkeys(_folders(module)))
    msg = (
        f"this Python has already imported `{name}` from {where} instead of ours "
        f"({_HOME / name}): import bids_select first, or rename that one"
    )
    raise UserError(msg)
