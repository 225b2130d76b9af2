"""The parts of both cards: the hub's header, Markdown paragraphs and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from huggingface_hub import CardData


def card(data: CardData, parts: Iterable[str]) -> str:
    """Return a card: header and paragraphs.

    Args:
        data: fields of the header, in the form of the hub's own library.
        parts: Markdown, to be separated by blank lines.
    """
    body = "\n\n".join(parts)
    return f"---\n{data.to_yaml()}\n---\n\n{body}\n"


def table(columns: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; no value can break out of its cell."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split("\n"))
