"""Numbers and foreign text in readable form."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pandas as pd

_PLAIN: Final = re.compile(r"(?!\d+[.)] )\w[\w .,:;?'\"()/%$=-]*|")
"""Text without Markdown markup."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters of a cell that a spreadsheet takes for a formula (OWASP, CSV injection)."""


def percent(value: float, digits: int = 1) -> str:
    """Format a share as a percentage; a dash for None."""
    return "\N{EN DASH}" if value != value else f"{100 * value:.{digits}f}%"


def number(value: float, digits: int = 3) -> str:
    """Format a number with a true minus sign (none before a zero); a dash for None."""
    if value != value:
        return "\N{EN DASH}"
    return f"{value:z,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def brief(text: object, width: int = 300) -> str:
    """Return foreign text (from a file, or another library's error) shortened to one line."""
    line = " ".join(str(text)[: 4 * width].split())
    return line if len(line) <= width else f"{line[: width - 3]}..."


def as_code(text: object) -> str:
    """Return foreign text as Markdown code: one line, in which nothing is markup."""
    line = brief(text).replace("`", "'")
    return f"`{line}`" if line else ""


def as_cells(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of a table rendered as Markdown; cells that contain markup become code."""
    return [
        {
            name: as_code(value)
            if isinstance(value, str) and not _PLAIN.fullmatch(value)
            else value
            for name, value in row.items()
        }
        for row in rows
    ]


def without_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table for a CSV file in which no spreadsheet takes text for a formula.

    Such text gets a leading apostrophe, the mark spreadsheets themselves use for text.
    """
    texts = frame.select_dtypes(exclude=["number", "bool"]).columns
    return frame.assign(**{name: frame[name].map(_as_cell) for name in texts})


def with_formulas(text: str) -> str:
    """Return the original of a text that `without_formulas` may have marked."""
    return text[1:] if text.startswith("'") and _is_formula(text) else text


def _as_cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and _is_formula(value) else value


def _is_formula(text: str) -> bool:
    return text.lstrip("'").startswith(_FORMULA)
