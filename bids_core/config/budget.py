"""Budgets as people write them: `500` rows, or `0.15` or `15%` of the pool.

The only parser for them: configurations, `--set`, the command line and forms all use it.
`bids_core.selection.resolve_budget` turns a fraction into a number of rows.
"""

from __future__ import annotations

import re
from typing import Any, Final

_COUNT: Final = re.compile(r"[+-]?\d[\d_]*")
PERCENTAGE: Final = r"^\s*\d+(\.\d+)?\s*%\s*$"
"""What a percentage looks like, for the schemas of forms and editors."""


def parse_budget(value: object) -> Any:
    """Return a count (int) or a fraction (float); values of other types are returned unchanged.

    Args:
        value: a number, or its text: `500` is a count, `0.15` and `15%` are fractions.

    Raises:
        ValueError: the text is neither, or the number is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    budget = _number(value) if isinstance(value, str) else value
    if isinstance(budget, int):
        if budget < 1:
            msg = f"{value} selects nothing: give a count of at least 1 (500)"
            raise ValueError(msg)
    elif not 0 < budget <= 1:
        msg = (
            f"{value} is not a fraction in (0, 1]: write 0.15 or 15%; a count is a whole number "
            "(500, not 500.0)"
        )
        raise ValueError(msg)
    return budget


def _number(text: str) -> int | float:
    word = text.strip()
    try:
        if word.endswith("%"):
            return float(word[:-1]) / 100
        return int(word) if _COUNT.fullmatch(word) else float(word)
    except ValueError:
        msg = f"{text!r} is not a number: give a count (500), a fraction (0.15) or 15%"
        raise ValueError(msg) from None
