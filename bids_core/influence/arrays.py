"""Numpy files from elsewhere: no pickles, no unchecked shapes, one kind of error."""

from __future__ import annotations

from tokenize import TokenError
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from bids_core.errors import UserError
from bids_core.formatting import brief

if TYPE_CHECKING:
    from pathlib import Path

# numpy parses the header as Python, so a damaged one raises that parser's errors too
_DAMAGED = (
    OSError, ValueError, EOFError, SyntaxError, TokenError, TypeError, LookupError, RecursionError,
    MemoryError,
)  # fmt: skip


def read_npy(
    path: Path, *, what: str, error: type[UserError] = UserError, mapped: bool = False
) -> npt.NDArray[Any]:
    """Read a `.npy` file.

    Args:
        path: the file.
        what: what it should be, for the message (`a numpy array`).
        error: class of the error.
        mapped: memory-map the file, so that the values stay on disk.

    Raises:
        UserError: it cannot be read, holds objects (pickles), or claims a shape that fits no
            memory.
    """
    mode: Literal["r"] | None = "r" if mapped else None
    try:
        return np.asarray(np.load(path, mmap_mode=mode, allow_pickle=False))
    except _DAMAGED as problem:
        msg = f"{path} cannot be read as {what}: {brief(problem) or type(problem).__name__}"
        raise error(msg) from problem
