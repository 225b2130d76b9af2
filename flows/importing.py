"""Large libraries, imported without garbage collections."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def importing() -> Iterator[None]:
    """Collect no garbage within the block, and none of what it made later.

    An import makes hundreds of thousands of objects that stay: looking for garbage among them takes
    a seventh of the time of `import transformers`.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
