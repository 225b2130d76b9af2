"""`bids validate`: can influence be trusted on my data?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bids_core.config.load import load_config
from flows.commands.command import Command, ConfigArgument, SetOption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

SUBSETS: Final = 20


def validate(
    config: ConfigArgument,
    rows: Annotated[int, typer.Option(min=2, help="Random pool rows to take a step on.")] = 64,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Also fine-tune on random subsets, at the settings of the config."
        ),
    ] = False,
    subsets: Annotated[
        int | None,
        typer.Option(min=2, help=f"Random subsets of --full. (default: {SUBSETS})"),
    ] = None,
    checkpoint: Annotated[
        int | None,
        typer.Option(help="Warmup checkpoint, from 1. (default: the one with the largest weight)"),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Learning rate of the steps. (default: the mean of the checkpoint's epoch)"
        ),
    ] = None,
    overrides: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure whether influence predicts what training on a row does, on your model and data.

    Takes a single optimizer step on each of some rows and compares the change of the validation
    losses with the influence (minutes on a small model); with --full, whole training runs on
    random subsets too. Finished work is kept: after an interruption, run the same command again.
    """
    from bids_core.errors import ConfigError

    settings = load_config(config, overrides or [])
    if subsets is not None and not full:
        msg = "--subsets needs --full: add --full to train on random subsets"
        raise ConfigError(msg)
    if learning_rate is not None and not learning_rate > 0:
        msg = f"--learning-rate {learning_rate:g}: a step needs a positive learning rate"
        raise ConfigError(msg)

    from flows.beforehand import check_settings
    from flows.commands.run import announce
    from flows.console import ConsoleReporter, error_console, output_console
    from flows.importing import importing

    check_settings(settings)
    console = error_console()
    announce(console)
    with importing():
        from flows.validate_influence import validate_influence
        from tasks.runtime.progress import reporting
    with reporting(ConsoleReporter(console)):
        result = validate_influence(
            settings,
            rows=rows,
            checkpoint=checkpoint,
            learning_rate=learning_rate,
            subsets=(subsets or SUBSETS) if full else 0,
        )
    if as_json:
        typer.echo(json.dumps(result, indent=1))
    else:
        print_validation(output_console(), result)


COMMAND = Command(validate, place=55)


def print_validation(console: Console, result: Mapping[str, Any]) -> None:
    """Print the measurements and what they mean."""
    from bids_core.diagnostics.trust import STEPS
    from flows.console import table

    steps = result["steps"]
    console.print()
    if len(steps["words"]) > 1:
        lines = [
            [STEPS[name], *_estimate(found), *_estimate(steps["costs"].get(name, {}))]
            for name, found in steps["correlations"].items()
        ]
        heads = ["prediction, with", "rank correlation", "95% interval", "costs", "95% interval"]
        title = f"Single steps on {steps['n_rows']} rows from checkpoint {steps['checkpoint']}"
        console.print(table(title, heads, lines))
        console.print()
        lines = [[name, *_estimate(found)] for name, found in steps["tasks"].items()]
        heads = ["task", "rank correlation", "95% interval"]
        console.print(table("The run's influence at this checkpoint, by task", heads, lines))
        console.print()
    console.print(" ".join(steps["words"]), markup=False)
    if "subsets" in result:
        _print_subsets(console, result["subsets"])
    console.print(f"\nEverything is in {result['folder']}/validation.json", markup=False)


def _print_subsets(console: Console, subsets: Mapping[str, Any]) -> None:
    from flows.console import table

    console.print()
    lines = []
    for split in ("validation", "test"):
        if split in subsets and len(subsets[split]["words"]) > 1:
            found = subsets[split]
            lines.append([split, "all tasks", *_estimate(found["lds"])])
            lines += [[split, n, *_estimate(e)] for n, e in found["lds_by_task"].items()]
    if lines:
        title = (
            f"Training runs on {subsets['n_subsets']} random subsets of {subsets['n_rows']} rows"
        )
        heads = ["rows", "task", "datamodelling score", "95% interval"]
        console.print(table(title, heads, lines))
        console.print()
    for split, name in (("validation", "Validation instances"), ("test", "Test rows")):
        if split in subsets:
            console.print(f"{name}: {' '.join(subsets[split]['words'])}", markup=False)


def _estimate(found: Mapping[str, Any]) -> list[object]:
    """Return a value and its interval, None if there is none."""
    low, high = found.get("low"), found.get("high")
    interval = None if low is None or high is None else f"{low:.3f} to {high:.3f}"
    return [found.get("value"), interval]
