"""Columns and texts packed into the page: JSON, deflated, as base64.

A browser unpacks them by itself (`DecompressionStream`), from a file and under the page's policy.
Texts are packed in blocks of rows, so that a page of the list unpacks only what it shows.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

Turns = list[tuple[str, str]]

BLOCK: Final = 256
"""Rows of a block of texts."""
CAPS: Final = (32_000, 16_000, 8_000, 4_000, 2_800, 2_000, 1_400, 1_000, 700, 500, 350, 250, 180, 120)
"""Lengths at which texts are cut, in characters, where they would make the page too large."""
_SAMPLED: Final = 6
"""Blocks that are packed to estimate the size of all."""


def packed(value: Any) -> str:
    """Return JSON values as deflated base64 text."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    squeezer = zlib.compressobj(6, wbits=-15)  # raw: the browser's "deflate-raw"
    data = squeezer.compress(text.encode("utf-8", "replace")) + squeezer.flush()
    return base64.b64encode(data).decode("ascii")


def text_blocks(texts: Sequence[Turns | None], *, budget: int) -> tuple[list[str], int | None]:
    """Pack conversations, cut only as far as they must be to fit.

    Args:
        texts: one a row; None where it is not known.
        budget: characters that all blocks may take together.

    Returns:
        The blocks, each a packed list of rows `[characters cut away, role, text, role, text, ...]`
        (`null` where there is none), and the length at which texts were cut; None if none was.
    """
    starts = range(0, len(texts), BLOCK)
    sample = list(starts)[:: max(1, len(starts) // _SAMPLED)]
    cap = next(
        (
            cap
            for cap in (None, *CAPS)
            if _estimate(texts, sample, cap) * len(starts) / max(1, len(sample)) <= 0.95 * budget
        ),
        CAPS[-1],
    )
    blocks = [packed([_row(t, cap) for t in texts[start : start + BLOCK]]) for start in starts]
    was_cut = cap is not None and any(_length(text) > cap for text in texts)
    return blocks, cap if was_cut else None


def _estimate(texts: Sequence[Turns | None], starts: Sequence[int], cap: int | None) -> int:
    return sum(len(packed([_row(t, cap) for t in texts[s : s + BLOCK]])) for s in starts)


def _length(text: Turns | None) -> int:
    return sum(len(content) for _, content in text or ())


def _row(text: Turns | None, cap: int | None) -> list[Any] | None:
    """Return one row of a block; every turn is cut in the same proportion."""
    if text is None:
        return None
    total = _length(text)
    if cap is None or total <= cap:
        return [0, *(part for turn in text for part in turn)]
    kept = [(role, content[: max(20, cap * len(content) // total)]) for role, content in text]
    return [total - _length(kept), *(part for turn in kept for part in turn)]
