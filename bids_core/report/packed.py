"""Columns and texts packed into the page: JSON, deflated, in base64.

A browser can unpack them without a library (`DecompressionStream`), even from a file and under the
page's content security policy. Texts are packed in blocks of rows, so that a page of the list
unpacks only what it shows.
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
PART: Final = 2048
"""Rows of a file of whole texts."""
CAPS: Final = (
    32_000, 16_000, 8_000, 4_000, 2_800, 2_000, 1_400, 1_000, 700, 500, 350, 250, 180, 120, 80, 0
)  # fmt: skip
"""Lengths, in characters, at which texts are cut if they would make the page too large."""
_SAMPLED: Final = 6
"""Blocks that are packed to estimate the total size."""
_HARDEST: Final = 6.0
"""Upper bound on the characters of text per packed character."""


def packed(value: Any, *, level: int = 6) -> str:
    """Return JSON values as deflated base64 text."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    squeezer = zlib.compressobj(level, wbits=-15)  # a raw stream: the browser's "deflate-raw"
    data = squeezer.compress(text.encode("utf-8", "replace")) + squeezer.flush()
    return base64.b64encode(data).decode("ascii")


def text_blocks(texts: Sequence[Turns | None], *, budget: int) -> tuple[list[str], int | None]:
    """Pack conversations, cut only as far as they must be to fit.

    Args:
        texts: one per row; None where unknown.
        budget: characters that all blocks together may take.

    Returns:
        The blocks, each a packed list of rows `[characters cut away, role, text, role, text, ...]`
        (`null` where there is none), and the length at which texts were cut; None if none was.
    """
    lengths = [_length(text) for text in texts]
    starts = range(0, len(texts), BLOCK)
    sample = list(starts)[:: max(1, len(starts) // _SAMPLED)]
    share = budget * len(sample) / max(1, len(starts))
    cap = next((cap for cap in (None, *CAPS) if _fits(texts, lengths, sample, cap, share)), 0)
    blocks = [packed([_row(t, cap) for t in texts[start : start + BLOCK]]) for start in starts]
    return blocks, cap if cap is not None and max(lengths, default=0) > cap else None


def _fits(
    texts: Sequence[Turns | None],
    lengths: Sequence[int],
    starts: Sequence[int],
    cap: int | None,
    budget: float,
) -> bool:
    """Return whether some blocks of texts fit into a budget when they are cut at a length."""
    rows = [row for start in starts for row in range(start, min(start + BLOCK, len(texts)))]
    if sum(lengths[r] if cap is None else min(lengths[r], cap) for r in rows) > _HARDEST * budget:
        return False  # clear without packing them
    size = 0
    for start in starts:
        size += len(packed([_row(text, cap) for text in texts[start : start + BLOCK]]))
        if size > 0.96 * budget:
            return False
    return True


def whole_texts(texts: Sequence[Turns | None], cuts: Sequence[int | None]) -> dict[int, str]:
    """Pack the full text of conversations that were cut, in parts of `PART` rows.

    Args:
        texts: one per row.
        cuts: length at which each row's text was cut; None if it was not.

    Returns:
        Number of the part -> its packed rows, in the form of `text_blocks`; parts in which nothing
        was cut are left out.
    """
    found = {}
    for start in range(0, len(texts), PART):
        rows = range(start, min(start + PART, len(texts)))
        if any(
            cap is not None and _length(texts[row]) > cap for row in rows for cap in (cuts[row],)
        ):
            found[start // PART] = packed([_row(texts[row], None) for row in rows], level=3)
    return found


def _length(text: Turns | None) -> int:
    return sum(len(content) for _, content in text or ())


def _row(text: Turns | None, cap: int | None) -> list[Any] | None:
    """Return one row of a block; every turn is cut in the same proportion."""
    if text is None:
        return None
    total = _length(text)
    if cap is None or total <= cap:
        return [0, *(part for turn in text for part in turn)]
    kept = [(role, content[: cap * len(content) // total]) for role, content in text]
    return [total - _length(kept), *(part for turn in kept for part in turn)]
