"""`bids compare`: methods x budgets x seeds, with intervals and costs; run again to resume."""

from __future__ import annotations

import json
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from bids_core.config.load import load_config
from bids_core.errors import ConfigError
from bids_core.own_code import function_name, own_file
from flows.budget import budget_option
from flows.commands.command import Command, ConfigArgument, SetOption

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from tasks.comparison import ComparisonResult

T = TypeVar("T")

_FILES: Final = (
    ("comparison.html", "tables and figures: open it in a browser"),
    ("comparison.parquet", "scores and costs, one row per cell and task"),
    ("comparison_samples.parquet", "every answer of every cell"),
    ("comparison_differences.parquet", "differences with intervals and p-values"),
    ("comparison.json", "the same, summarised for programs"),
)


def compare(
    config: ConfigArgument,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Methods, comma-separated; also your own (methods.py:function). Default: "
            "those of the config, and random."
        ),
    ] = None,
    budgets: Annotated[
        str | None,
        typer.Option(
            help="Budgets, comma-separated: counts (500) or fractions (0.05, 5%); 1.0 is the whole "
            "pool. Default: the config's."
        ),
    ] = None,
    seeds: Annotated[
        str, typer.Option(help="Seeds of fine-tuning and of random methods, comma-separated.")
    ] = "0,1,2",
    overrides: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compare selection methods: fine-tune and evaluate each at each budget with each seed.

    Warmup and gradients are computed once. Finished work is kept: after an interruption, or when
    some cells failed (exit status 1), run the same command again.
    """
    settings = load_config(config, overrides or [])
    wanted = (
        [_method(word) for word in _words(methods, "--methods")]
        if methods is not None
        else list(dict.fromkeys((*settings.selection.methods, "random")))
    )
    sizes: list[int | float] = (
        [budget_option(word, option="--budgets") for word in _words(budgets, "--budgets")]
        if budgets is not None
        else [settings.selection.budget]
    )
    drawn = [_seed(word) for word in _words(seeds, "--seeds")]

    from flows.beforehand import check_comparison
    from flows.commands.run import announce
    from flows.console import ConsoleReporter, error_console
    from flows.importing import importing

    check_comparison(settings, wanted)
    console = error_console()
    announce(console)
    with importing():
        from flows.compare_methods import compare_methods
        from tasks.comparison import CellsFailedError
        from tasks.runtime.progress import reporting
    failure = None
    with reporting(ConsoleReporter(console)):
        try:
            result = compare_methods(settings, tuple(wanted), tuple(sizes), tuple(drawn))
        except CellsFailedError as error:
            failure, result = error, error.result
    if as_json:
        typer.echo(json.dumps(_summary(result), indent=1))
    else:
        from flows.console import output_console

        print_comparison(output_console(), result)
    if failure is not None:
        raise failure


COMMAND = Command(compare, place=50)


def _words(text: str, option: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        msg = f"{option}: nothing given; separate values by commas"
        raise ConfigError(msg)
    return words


def _method(word: str) -> str:
    from bids_core.selection import METHODS

    if word not in METHODS:
        near = get_close_matches(word, list(METHODS), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        what = f"no such method; {hint}known: {', '.join(METHODS)}"
        msg = f"--methods {word}: {METHODS.unknown(word) if word.endswith('.py') else what}"
        raise ConfigError(msg)
    path = own_file(word)
    return word if path is None else f"{Path(path).expanduser().resolve()}:{function_name(word)}"


def _seed(word: str) -> int:
    seed = _number(word, int, "--seeds", "a whole number")
    if not 0 <= seed < 2**32:
        msg = f"--seeds {word}: a seed is a whole number from 0 to {2**32 - 1}"
        raise ConfigError(msg)
    return seed


def _number(word: str, kind: Callable[[str], T], option: str, what: str) -> T:
    try:
        return kind(word)
    except ValueError as error:
        msg = f"{option} {word}: not {what}"
        raise ConfigError(msg) from error


def _summary(result: ComparisonResult) -> dict[str, Any]:
    """Return the written summary; if no cell has finished, only the cells."""
    from bids_core.artifacts import read_small_json
    from tasks.comparison import SUMMARY

    if result.folder is not None and (path := result.folder / SUMMARY).exists():
        written = dict(read_small_json(path))
        return written | {"folder": str(result.folder)}
    return {"name": result.name, "cells": [cell.model_dump(mode="json") for cell in result.cells]}


def print_comparison(console: Console, result: ComparisonResult) -> None:
    """Print the table of arms, the differences from random, and the conclusion."""
    from flows.commands.run import print_verdict
    from flows.console import table

    summary = _summary(result)
    console.print()
    if "arms" in summary:
        columns = ["method", "rows", "seeds", "macro average", "95% interval", "rank",
                   "won/tied/lost", "worst task", "spread", "loss"]  # fmt: skip
        title = f"Comparison ({len(result.cells)} cells)"
        console.print(table(title, columns, [_arm(arm) for arm in summary["arms"]]))
        console.print()
        costs = [_cost(cost) for cost in summary["costs"]]
        columns = ["method", "rows", "tokens", "fine-tuning", "evaluation", "memory"]
        console.print(table("Cost of one cell (mean over seeds)", columns, costs))
        console.print()
        print_verdict(console, summary["verdict"])
    for cell in result.cells:
        if cell.failed:
            console.print(f"failed: {cell.label}: {cell.failed}", markup=False)
    console.print(f"Everything is in [bold]{result.folder}[/]")
    for name, what in _FILES:
        if result.folder is not None and (result.folder / name).exists():
            console.print(f"  {name:31} {what}")


def _arm(arm: dict[str, Any]) -> list[object]:
    interval = won = None
    worst = arm.get("worst_task") if arm.get("spread") else None  # all equal: none is worst
    if arm.get("macro") is not None:
        interval = f"{arm['low']:.3f} to {arm['high']:.3f}"
    if arm.get("won") is not None:
        won = f"{arm['won']:.0f}/{arm['tied']:.0f}/{arm['lost']:.0f}"
    return [
        arm["method"], arm["n_rows"] or None, arm["n_seeds"] or None, arm.get("macro"), interval,
        arm.get("average_rank"), won, worst, arm.get("spread"), arm["answer_loss"],
    ]  # fmt: skip


def _cost(cost: dict[str, Any]) -> list[object]:
    from bids_core.progress import duration

    times = [cost[f"{stage}_seconds"] for stage in ("finetune", "evaluation")]
    shown = [None if seconds is None else duration(seconds) for seconds in times]
    memory = cost["peak_memory_bytes"]
    tokens = cost["tokens"]
    return [
        cost["method"], cost["n_rows"] or None, None if tokens is None else f"{tokens:,.0f}",
        *shown, None if memory is None else f"{memory / 2**30:.2f} GiB",
    ]  # fmt: skip
