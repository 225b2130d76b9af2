"""What methods are called in output for people."""

from __future__ import annotations

from typing import Final

from bids_core.own_code import function_name, is_own
from bids_core.selection.methods import METHODS

ZERO_SHOT: Final = "zero_shot"
"""Name under which the base model without training stands beside the methods."""
POOL: Final = "pool"
"""Name under which the whole training pool stands beside the selections."""

_LABELS: Final = {POOL: "pool", ZERO_SHOT: "zero-shot"}


def method_name(method: str) -> str:
    """Return the name of a method in tables and file names; its function's for the user's own."""
    return function_name(method)


def method_label(method: str) -> str:
    """Return what a method is called on the page.

    A page may be made where the user's own method is not: it is called by its function's name.
    """
    if method in _LABELS:
        return _LABELS[method]
    known = not is_own(method) and method in METHODS
    return METHODS[method].label if known else method_name(method)
