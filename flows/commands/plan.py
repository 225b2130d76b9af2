"""`bids plan`: what would a cheaper setting cost and keep?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bids_core.config.load import load_config
from flows.commands.command import Command, ConfigArgument, SetOption

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from bids_core.config import RunConfig
    from bids_core.planning.settings import Setting


def plan(
    config: ConfigArgument,
    rows: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Random rows of the pool to try the settings on. (default: 400, or as many as the "
            "budget needs for 20 picks)",
        ),
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option(help="Time available: choose the setting that keeps most picks within it."),
    ] = None,
    overlap: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Without --hours: choose the cheapest setting that keeps this share of the "
            "exact picks.",
        ),
    ] = 0.7,
    gpu: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="GPU to plan for: rtx4090, a100-80g, h100, ... (docs/plan.md). (default: "
            "this machine, measured)",
        ),
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="How many of them. (default: 1)")] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Further settings to try: a YAML list, each item with the keys it changes.",
        ),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the configuration with the chosen setting."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite an existing --write file.")
    ] = False,
    overrides: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure on a sample of your pool what cheaper settings cost and keep; choose one.

    Runs the exact pipeline on the sample up to the picks, then every setting: fewer checkpoints,
    fewer layers, screens, landmarks. Finished work is kept: after an interruption, run the same
    command again.
    """
    from bids_core.errors import ConfigError

    loaded = load_config(config, overrides or [])
    if hours is not None and not hours > 0:
        msg = f"--hours {hours:g}: a plan needs a positive time"
        raise ConfigError(msg)
    if gpus is not None and gpu is None:
        msg = "--gpus needs the kind of GPU: add --gpu NAME"
        raise ConfigError(msg)
    own = [] if settings is None else _read_settings(settings)
    _check_names(loaded, own, gpu)
    if write is not None:
        _check_target(write, force=force)

    from flows.beforehand import check_settings
    from flows.commands.run import announce
    from flows.console import ConsoleReporter, error_console, output_console
    from flows.importing import importing

    check_settings(loaded)
    console = error_console()
    announce(console)
    with importing():
        from flows.plan_settings import plan_settings
        from tasks.runtime.progress import reporting
    with reporting(ConsoleReporter(console)):
        result = plan_settings(
            loaded, rows=rows, own=own, gpu=gpu, gpus=gpus or 1, hours=hours, overlap=overlap
        )
    if as_json:
        typer.echo(json.dumps(result, indent=1))
    else:
        print_plan(output_console(), result)
    if write is not None:
        _write(write, config, result, overrides or [])
        console.print(f"Wrote {write}. Next: bids run {write}", markup=False)


COMMAND = Command(plan, place=57)
_WORTH_NAMING = 0.01
"""Smallest share of the time for which a stage is shown."""


def _read_settings(path: Path) -> list[Setting]:
    """Read the user's own settings.

    Raises:
        ConfigError: the file cannot be read, or is not a list of settings.
    """
    from bids_core.config.yaml_text import YamlError, parse_yaml
    from bids_core.errors import ConfigError
    from bids_core.planning.settings import own_settings

    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YamlError) as error:
        msg = f"--settings {path}: {error}"
        raise ConfigError(msg) from error
    if not isinstance(content, list) or not content:
        msg = (
            f"--settings {path}: must be a list of settings, each with the keys it changes, "
            "as in `- {warmup.stop_after: 1, screen.by: bm25}`"
        )
        raise ConfigError(msg)
    return own_settings(content, origin=f"--settings {path}")


def _check_names(config: RunConfig, own: Sequence[Setting], gpu: str | None) -> None:
    """Refuse settings that are not valid configurations, and unknown GPUs."""
    from bids_core.planning.settings import without_shortcuts

    exact = without_shortcuts(config)
    for setting in own:
        setting.configure(exact)
    if gpu is not None:
        from bids_core.planning.hardware import gpu_of

        gpu_of(gpu)


def _check_target(target: Path, *, force: bool) -> None:
    from bids_core.errors import ConfigError
    from flows.commands.out_path import require_folder

    if target.is_dir():
        msg = f"--write {target}: is a folder; name a file in it"
        raise ConfigError(msg)
    if target.exists() and not force:
        msg = f"{target} exists already; use --force to overwrite it"
        raise ConfigError(msg)
    require_folder(target, option="--write")


def _write(target: Path, config: Path, result: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Write the user's configuration with the chosen setting.

    Raises:
        UserError: none was chosen, or the file cannot be written.
    """
    from bids_core.config.rewrite import rewritten
    from bids_core.errors import UserError
    from bids_core.planning.settings import SHORTCUTS

    chosen = {row["name"]: row for row in result["settings"]}.get(result["chosen"])
    if chosen is None:
        msg = f"{target} was not written, because no setting was chosen: {result['words'][0]}"
        raise UserError(msg)
    text = rewritten(config, target, changes=SHORTCUTS | chosen["changes"], overrides=overrides)
    head = f"# Chosen by `bids plan`: {chosen['name']} ({chosen['words']}).\n"
    try:
        target.write_text(head + text, encoding="utf-8")
    except OSError as error:
        msg = f"--write {target}: {error}"
        raise UserError(msg) from error
    load_config(target)


def print_plan(console: Console, result: Mapping[str, Any]) -> None:
    """Print what each setting costs and keeps, and which one to use."""
    from bids_core.planning.plan_words import interval
    from bids_core.progress import duration
    from flows.console import table

    sample = result["sample"]
    rows = sorted(result["settings"], key=lambda row: -row["cost"]["share"])
    nats = any(row["nats"] is not None for row in rows)
    lines: list[list[object]] = [
        [
            f"{_mark(row)} {row['name']}",
            f"{row['cost']['share']:.0%}",
            duration(row["cost"]["seconds"]),
            *(interval(row[what]) for what in ("overlap", "kept", "rank_correlation")),
            *([interval(row["nats"], 4)] if nats else []),
        ]
        for row in rows
    ]
    heads = ["setting", "cost", "time", "picks kept", "influence kept", "rank correlation",
             *(["nats lost"] if nats else [])]  # fmt: skip
    console.print()
    console.print(
        table(f"What settings cost on the pool of {sample['pool_rows']:,} rows "
              f"({result['machine']['label']}), and keep of {sample['rows']:,}", heads, lines)
    )  # fmt: skip
    late = "" if all(row["fits"] for row in rows) else "; x does not fit"
    console.print(
        f"* no other setting is cheaper and keeps as many of the {sample['picks']} exact "
        f"picks{late}. Random picks keep {sample['chance']:.2f}. 95% intervals are in "
        "brackets.\n",
        markup=False,
    )
    _print_costs(console, rows)
    for sentence in result["words"]:
        console.print(sentence, markup=False)
    names = "plan.json" if result["figure"] is None else "plan.json and plan.png"
    console.print(f"\nEverything is in {result['folder']}/{names}", markup=False)


def _print_costs(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print where the time goes, and the other costs of a setting."""
    from bids_core.progress import duration
    from flows.console import table

    stages = dict.fromkeys(
        stage
        for row in rows
        for stage, seconds in row["cost"]["stages"].items()
        if seconds >= _WORTH_NAMING * row["cost"]["work_seconds"]
    )
    lines: list[list[object]] = [
        [
            row["name"],
            *(duration(row["cost"]["stages"].get(stage, 0.0)) for stage in stages),
            f"{row['cost']['memory_bytes'] / 2**30:.1f} GiB",
            f"{row['cost']['disk_bytes'] / 2**20:,.0f} MiB",
        ]
        for row in rows
    ]
    title = "Time of each stage on one device, memory of the largest, disk"
    console.print(table(title, ["setting", *stages, "memory", "disk"], lines))
    console.print()


def _mark(row: Mapping[str, Any]) -> str:
    return "*" if row["efficient"] and row["fits"] else " " if row["fits"] else "x"
