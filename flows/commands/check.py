"""`bids check`: configuration, data and estimated cost, before anything is spent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bids_core.config.load import load_config
from flows.commands.command import Command, ConfigArgument, SetOption

_SHOWN = 80
_LONGEST = 300

if TYPE_CHECKING:
    from peft import PeftModel
    from rich.console import Console

    from bids_core.config import RunConfig
    from bids_core.data import PreparedData
    from bids_core.data.view import RowView
    from bids_core.planning.cost import Speed, StageCost


def check(
    config: ConfigArgument,
    overrides: SetOption = None,
    cost: Annotated[
        bool, typer.Option(help="Measure the model's speed and estimate time, disk and memory.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check configuration and data: counts, rejects, token lengths, overlap, cost."""
    settings = load_config(config, overrides or [])
    from flows.beforehand import check_settings
    from flows.console import ConsoleReporter, error_console
    from flows.importing import importing

    settings = check_settings(settings)
    reporter = ConsoleReporter(error_console())
    with reporter.during("loading the tokenizer"), importing():
        from bids_core.models.load import load_tokenizer

        tokenizer = load_tokenizer(settings.model, settings.data.template_args)
    with reporter.during("reading data", "rows") as progress:
        from bids_core.data import prepare
        from flows.budget import check_methods, planned_picks, require_room

        data = prepare(settings, tokenizer, base_dir=Path.cwd(), on_progress=progress)
    budget = planned_picks(settings.selection.budget, len(data.train))
    require_room(settings, budget, len(data.train))
    check_methods(settings, data, settings.selection.methods)
    with reporter.during("looking at the model's layers"), importing():
        from tasks.checks import check_run

        target = _target(settings)
        remarks = check_run(settings, data, target, evaluates=True, tokenizer=tokenizer)
    costs: list[StageCost] = []
    speed: Speed | None = None
    if cost:
        with reporter.during("loading the model"):
            from bids_core.training.starting import starting_model

            model = starting_model(settings)
        with reporter.during("measuring the model's speed"):
            costs, speed = _measure(settings, model, data, tokenizer.pad_token_id)
        with reporter.during("testing what the run relies on"):
            if target is None:
                remarks += _try_out(settings, model, data)
            else:
                del model
                remarks += _try_out_other(settings, target)
    summary: dict[str, Any] = {
        "budget": budget,
        "data": data.summary,
        "overlap": len(data.overlap),
        "remarks": remarks,
    }
    if as_json:
        from bids_core.planning.cost import memory_bytes

        summary["cost"] = [
            {
                "stage": c.stage,
                "seconds": c.seconds,
                "disk_bytes": c.disk_bytes,
                "memory_bytes": c.memory_bytes,
            }
            for c in costs
        ]
        summary["memory_bytes"] = memory_bytes(costs) if costs else None
        typer.echo(json.dumps(summary, indent=1))
    else:
        from bids_core.data.view import one_of_each_format

        _print(data, budget, costs, speed, one_of_each_format(data, tokenizer, settings.data))
        for remark in remarks:
            error_console().print(f"warning: {remark}", markup=False, highlight=False)


COMMAND = Command(check, place=20)


def _target(config: RunConfig) -> PreparedData | None:
    """Read the data again if another model is fine-tuned; None if not."""
    from bids_core.data import prepare
    from bids_core.models.load import load_tokenizer
    from tasks.identity import training_config

    if config.finetune.model is None or not config.finetune.enabled:
        return None
    other = training_config(config)
    return prepare(
        other, load_tokenizer(other.model, other.data.template_args), base_dir=Path.cwd()
    )


def _try_out(config: RunConfig, model: Any, data: PreparedData) -> list[str]:
    """Try what the run will do with the model; return warnings."""
    from bids_core.evaluation.cache import cache_plan
    from bids_core.training.packing import require_packable

    if not config.finetune.enabled:
        return []
    if config.finetune.packing:
        require_packable(model, data.train.examples())
    if not config.has_evaluation:
        return []
    model.eval()
    lengths = data.test.frame["n_tokens"]
    new = max((task.max_new_tokens for task in config.test), default=0)
    return cache_plan(model, longest=int(lengths.max()) + new if len(lengths) else 0).remarks()


def _try_out_other(config: RunConfig, target: PreparedData) -> list[str]:
    """Try another model that is fine-tuned."""
    from bids_core.models.load import load_base
    from tasks.identity import training_config

    return _try_out(config, load_base(training_config(config).model), target)


def _measure(
    config: RunConfig, model: PeftModel, data: PreparedData, pad_token_id: int
) -> tuple[list[StageCost], Speed]:
    from bids_core.planning.cost import estimate, measure_speed

    speed = measure_speed(
        model,
        data.train.examples(),
        pad_token_id=pad_token_id,
        checkpointing=config.model.activation_checkpointing,
    )
    return estimate(config, data, speed), speed


def _print(
    data: PreparedData,
    budget: int,
    costs: list[StageCost],
    speed: Speed | None,
    examples: list[RowView],
) -> None:
    from bids_core.planning.cost import memory_bytes
    from bids_core.progress import duration
    from flows.console import output_console, table

    console = output_console()
    _print_data(console, data)
    _print_rows(console, data, examples)
    console.print(f"Budget: {budget} of {len(data.train)} pool rows.")
    if speed is None:
        return
    console.print()
    rows = [
        [
            c.stage,
            duration(c.seconds),
            f"{c.disk_bytes / 2**20:.1f} MiB",
            f"{c.memory_bytes / 2**30:.1f} GiB" if c.memory_bytes else "",
            c.basis,
        ]
        for c in costs
    ]
    total, disk = sum(c.seconds for c in costs), sum(c.disk_bytes for c in costs)
    memory = f"{memory_bytes(costs) / 2**30:.1f} GiB"
    rows.append(["total", duration(total), f"{disk / 2**20:.1f} MiB", memory, ""])
    title = f"Estimated cost (measured here: {speed.tokens_per_second:.0f} tokens/s)"
    console.print(table(title, ["stage", "time", "disk", "memory", "rests on"], rows))


def _print_data(console: Console, data: PreparedData) -> None:
    from flows.console import table

    rows = []
    for name in ("train", "validation", "test"):
        frame = getattr(data, name).frame
        for source, part in frame.groupby("source" if name == "train" else "task", sort=False):
            tokens = part["n_tokens"]
            rows.append([name, source, len(part), int(tokens.median()), int(tokens.max()),
                         int(part["n_completion_tokens"].median())])  # fmt: skip
        rows += [[name, source["source" if name == "train" else "task"], 0, "-", "-", "-"]
                 for source in data.summary["sources"]
                 if source["split"] == name and source["read"] and not source["kept"]]  # fmt: skip
    columns = ["split", "source or task", "rows", "tokens (median)", "(longest)", "completion"]
    console.print(table("Data", columns, rows))
    console.print()
    if data.rejects:
        counts: dict[tuple[str, str], int] = {}
        for reject in data.rejects:
            counts[reject.split, reject.reason] = counts.get((reject.split, reject.reason), 0) + 1
        console.print(
            table(
                "Rejected rows", ["split", "reason", "rows"], [[*k, n] for k, n in counts.items()]
            )
        )
        first = {(reject.split, reject.reason): reject for reject in reversed(data.rejects)}
        for key in counts:  # one of each kind
            console.print(f"  {first[key].location}: {first[key].detail}", markup=False)
        console.print()
    _print_repeated(console, data.summary["repeated"])
    if len(data.overlap):
        console.print(
            f"Overlap: {len(data.overlap)} pairs of rows share text (data.overlap: drop "
            "removes their pool rows). The first ones:"
        )
        for pair in data.overlap.head(3).to_dict(orient="records"):
            console.print(
                f"  {pair['split']} {pair['row_id']} and {pair['other_split']} "
                f"{pair['other_row_id']} ({pair['kind']}, {pair['share']:.0%}): "
                f"{pair['shared'][:_SHOWN]}",
                markup=False,
            )
    else:
        console.print("Overlap: none found between pool, validation and test.")


def _print_repeated(console: Console, repeated: dict[str, Any]) -> None:
    """Print how many pool rows are duplicates; those in validation and test show as overlap."""
    found = repeated["train"]
    if found["rows"]:
        console.print(
            f"Repeated: {found['rows']} pool rows repeat another one word for word, the first "
            f"being {found['first']} ({found['as']} again). Each copy can be picked; remove "
            "copies from the files if you do not want that.",
            markup=False,
        )
    else:
        console.print("Repeated: no pool row repeats another one word for word.")


def _print_rows(console: Console, data: PreparedData, examples: list[RowView]) -> None:
    """Print the notes on kept rows, and one row of each format."""
    from bids_core.data import NOTES
    from flows.commands.show import print_row
    from flows.console import table

    console.print()
    splits = ("train", "validation", "test")
    notes = data.summary["notes"]
    rows = [
        [note, *(notes[split].get(note, 0) for split in splits), words]
        for note, words in NOTES.items()
        if any(notes[split].get(note) for split in splits)
    ]
    counts = [
        [f"{what} at data.max_length" if what == "truncated" else "cut before the answer",
         *(data.summary[what][split] for split in splits), words]
        for what, words in (
            ("truncated", "the rest of the row is not learned"),
            ("merged", "so that no token spans prompt and answer"),
        )
        if any(data.summary[what].values())
    ]  # fmt: skip
    if rows or counts:
        columns = ["rows that are kept, but", *splits, "what it means"]
        console.print(table("Notes", columns, [*rows, *counts]))
        console.print()
    formats = data.summary["formats"]
    names = list(dict.fromkeys(name for split in splits for name in formats[split]))
    rows = [[name, *(formats[split].get(name, 0) for split in splits)] for name in names]
    console.print(table("Formats", ["format", *splits], rows))
    console.print("One row of each (`bids show` shows any row in full):")
    for example in examples:
        console.print()
        print_row(console, example, longest=_LONGEST)
    console.print()
