"""Numbers and foreign texts as people read them."""

from __future__ import annotations


def percent(value: float, digits: int = 1) -> str:
    """Format a share as a percentage; a dash where there is none."""
    return "\N{EN DASH}" if value != value else f"{100 * value:.{digits}f}%"


def number(value: float, digits: int = 3) -> str:
    """Format a number with a true minus sign (none before a zero); a dash where there is none."""
    if value != value:
        return "\N{EN DASH}"
    return f"{value:z,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def brief(text: object, width: int = 300) -> str:
    """Return a text that is not ours (a file's, another library's error) as part of one line."""
    line = " ".join(str(text)[: 4 * width].split())
    return line if len(line) <= width else f"{line[: width - 3]}..."
