"""Files that are nearly right: seeded damage to bytes, and values of the wrong type.

`BIDS_FUZZ=20 pytest tests/fuzz` tries twenty times as much, with other seeds (`make fuzz`).
"""

from __future__ import annotations

import os
import random
from contextlib import contextmanager

from bids_core.errors import BidsError

TIMES = int(os.environ.get("BIDS_FUZZ", "1"))
BITS = [
    b"", b"\x00", b"\xff", b"\xed\xa0\x80", b'"', b"'", b"{", b"}", b"[", b"]", b",", b":", b"\n",
    b"null", b"true", b"-1", b"1e999", b"NaN", b"9" * 5000, b"[" * 2000, b"{}", b"[]", b'""', b"0",
    b"&a", b"*a", b"!!python/object/apply:os.system", b"!!timestamp x", b"<<: ", b"%", b"{{ x }}",
    b"\xef\xbb\xbf", b"\r", b"../../", b"\\ud800",
]  # fmt: skip


def seeds(count):
    """Seeds of so many cases; with BIDS_FUZZ more, and behind those that are always tried."""
    return range(count * TIMES)


def damaged(data, seed):
    """Return data with one to four damages: flipped, cut, spliced, doubled, replaced bytes."""
    rng = random.Random(seed)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        data = rng.choice([_flipped, _cut, _spliced, _doubled, _replaced, _replaced])(data, rng)
    return data


def _place(data, rng):
    return rng.randrange(len(data) + 1)


def _flipped(data, rng):
    if not data:
        return data
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 8, 64])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(data, rng):
    return data[: _place(data, rng)]


def _spliced(data, rng):
    a, b = sorted((_place(data, rng), _place(data, rng)))
    c = _place(data, rng)
    return data[:c] + data[a:b] + data[c:]


def _doubled(data, rng):
    a = _place(data, rng)
    return data[:a] + data[a : a + 40] * rng.choice([2, 50]) + data[a:]


def _replaced(data, rng):
    a = _place(data, rng)
    return data[:a] + rng.choice(BITS) + data[a + rng.choice([0, 1, 4, 20]) :]


@contextmanager
def one_line(case):
    """Let an error pass that tells the user in one line what is wrong; nothing else."""
    try:
        yield
    except BidsError as error:
        message = str(error)
        assert message.strip(), case
        assert "\n" not in message.strip(), f"{case}: {message}"
        assert len(message) < 12_000, f"{case}: a message of {len(message)} characters"
