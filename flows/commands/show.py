"""`bids show`: a row as the model sees it, with the learned parts marked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bids_core.config.load import load_config
from flows.commands.command import ANY_ROW, Command, ConfigArgument, SetOption

if TYPE_CHECKING:
    from rich.console import Console

    from bids_core.data.view import Piece, RowView

_TOKENS = 60


def show(
    config: ConfigArgument,
    row: Annotated[
        str | None,
        typer.Argument(
            metavar="[ROW]",
            help="A row id, or file:line. Without it: the first row of each format.",
        ),
    ] = None,
    overrides: SetOption = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help=f"List all tokens, not the first {_TOKENS}.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per row.")] = False,
) -> None:
    """Show a row's rendered text and tokens, and which parts are learned or left out."""
    settings = load_config(config, overrides or [])

    from bids_core.data.view import Rows
    from bids_core.models.load import load_tokenizer
    from flows.console import output_console

    tokenizer = load_tokenizer(settings.model, settings.data.template_args)
    rows = Rows(settings, tokenizer, base_dir=Path.cwd())
    found = [rows.find(row)] if row is not None else rows.first_of_each_format()
    console = output_console()
    for number, one in enumerate(found):
        if as_json:
            typer.echo(json.dumps(one.to_dict(), ensure_ascii=False))
            continue
        if number:
            console.print()
        print_row(console, one)
        print_tokens(console, one, most=None if tokens else _TOKENS)


COMMAND = Command(show, place=30, options={"context_settings": ANY_ROW})


def print_row(console: Console, row: RowView, *, longest: int | None = None) -> None:
    """Print a row's text, with the learned parts marked in words and, on a terminal, in colour.

    Args:
        console: where to print.
        row: what to print.
        longest: most characters shown of a part; None: all.
    """
    from rich.text import Text

    from bids_core.data.notes import NOTES

    name = row.row_id or row.location
    form = f", {row.format}" if row.format else ""
    console.print(Text(f"{name} ({row.split}, {row.source}, {row.location}{form})", style="bold"))
    if row.reject is not None:
        console.print(Text(f"  rejected, {row.reject[0]}: {row.reject[1]}", style="red"))
    for note in row.notes:
        console.print(Text(f"  {note}: {NOTES[note]}", style="yellow"))
    if row.columns:
        console.print(Text(f"  further columns, exported with the row: {', '.join(row.columns)}"))
    if not row.pieces:
        return
    learned = sum(piece.n_tokens for piece in row.pieces if piece.weight)
    cut = f", {row.cut} of them beyond data.max_length" if row.cut else ""
    console.print(Text(f"  {len(row.tokens)} tokens, {learned} learned{cut}"))
    for piece in row.pieces:
        _print_piece(console, piece, longest)


def print_tokens(console: Console, row: RowView, *, most: int | None) -> None:
    """Print a row's tokens with their ids, learned ones with a star."""
    from rich.text import Text

    if not row.tokens:
        return
    console.print(Text("  tokens (* is learned):"))
    line = Text("   ")
    for token in row.tokens[:most]:
        star = "*" if token.weight else ""
        shown = f" {star}{token.id}:{_visible(token.text)}"
        line.append(shown, style="green" if token.weight else "")
    if most is not None and len(row.tokens) > most:
        line.append(f" ... ({len(row.tokens) - most} more; --tokens shows all)", style="dim")
    console.print(line, soft_wrap=False)


def _print_piece(console: Console, piece: Piece, longest: int | None) -> None:
    from rich.text import Text

    style, what = "dim", "read"
    if piece.weight:
        style, what = "green", "learned"
        what += f" x{piece.weight:g}" if piece.weight != 1 else ""
    elif piece.cut:
        style, what = "red", "cut off"
    elif piece.turn is not None:
        style, what = "yellow", "masked"
    turn = f"turn {piece.turn + 1}" if piece.turn is not None else ""
    text = piece.text
    if longest is not None and len(text) > longest:
        half = longest // 2
        text = f"{text[:half]} [...] {text[-half:]}"
    lines = text.replace("\n", "⏎\n").splitlines() or [""]
    for number, line in enumerate(lines):
        head = f"  {what:<13} {turn:<8} " if number == 0 else " " * 25
        console.print(Text(head, style="bold " + style) + Text(line, style=style), soft_wrap=True)


def _visible(text: str) -> str:
    return text.replace("\n", "⏎").replace(" ", "␣") or "·"
