"""Display names of methods."""

from __future__ import annotations

from typing import Final

from bids_core.own_code import function_name, is_own
from bids_core.selection.methods import METHODS

ZERO_SHOT: Final = "zero_shot"
"""Name of the base model without training, where methods are listed."""
POOL: Final = "pool"
"""Name of the whole training pool, where selections are listed."""

_LABELS: Final = {POOL: "pool", ZERO_SHOT: "zero-shot"}


def method_name(method: str) -> str:
    """Return a method's name for tables and file names; for a user's own, its function's name."""
    return function_name(method)


def method_label(method: str) -> str:
    """Return a method's name on the page.

    The page may be made where the user's own method is not available, so its function's name is
    used.
    """
    if method in _LABELS:
        return _LABELS[method]
    known = not is_own(method) and method in METHODS
    return METHODS[method].label if known else method_name(method)
