"""Keys that recognise rows when a pool changes, by their content as the model sees it.

Ids are not enough: a row without one is named after its line number, and inserting a row renumbers
all later lines.
"""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_core.records import TokenizedExample


def row_keys(examples: Sequence[TokenizedExample]) -> list[str]:
    """Return a digest of each row's tokens, labels and weights; 32 hexadecimal digits.

    Rows with the same content have the same key.
    """
    return [_key(example) for example in examples]


def distinct_keys(keys: Sequence[str]) -> list[str]:
    """Return the keys with duplicates made distinct: second occurrence, third, ..."""
    seen: Counter[str] = Counter()
    found = []
    for key in keys:
        found.append(f"{key}-{seen[key]}" if seen[key] else key)
        seen[key] += 1
    return found


def _key(example: TokenizedExample) -> str:
    digest = blake2b(digest_size=16)
    for part in (example.input_ids, example.labels, example.weights):
        content = b"" if part is None else part.tobytes()
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()
