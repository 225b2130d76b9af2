"""Imports large libraries without garbage collection."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def importing() -> Iterator[None]:
    """Switch off garbage collection in the block, and exempt its objects from later collections.

    An import creates hundreds of thousands of permanent objects: looking for garbage among them
    takes a seventh of the time of `import transformers`.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
