"""`bids run`: the whole pipeline; run again to resume."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from bids_core.config.load import load_config
from bids_core.errors import ConfigError
from flows.commands.command import Command, ConfigArgument, SetOption

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from rich.console import Console

    from flows.select_data import Stage
    from tasks.run_result import RunResult

_SOURCES = 12
_FIRST_PICKS = 5
_TEXT_SHOWN = 60
STAGES = ("prepare", "warmup", "gradients", "attribution", "selection", "finetune", "report")


def run(
    config: ConfigArgument,
    overrides: SetOption = None,
    until: Annotated[str, typer.Option(help=f"Last stage: {', '.join(STAGES)}.")] = "report",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run the pipeline: prepare, warmup, gradients, attribution, selection, fine-tune, evaluate.

    Finished work (same data, same settings) is reused: after an interruption, run the same command
    to continue.
    """
    if until not in STAGES:
        msg = f"--until {until}: no such stage; choose one of {', '.join(STAGES)}"
        raise ConfigError(msg)
    settings = load_config(config, overrides or [])

    from flows.beforehand import check_settings
    from flows.console import ConsoleReporter, error_console
    from flows.importing import importing

    check_settings(settings)
    console = error_console()
    announce(console)
    with importing():
        from flows.select_data import select_data
        from tasks.runtime.progress import reporting

    with reporting(ConsoleReporter(console)):
        result = select_data(settings, until=cast("Stage", until))
    if as_json:
        typer.echo(json.dumps(summarize(result), indent=1))
    else:
        print_result(result)


COMMAND = Command(run, place=40)


def announce(console: Console) -> None:
    """Print what the user is waiting for, and silence the temporary server.

    Raises:
        ConfigError: the temporary server has nowhere to write.
    """
    from bids_core.artifacts import require_writable

    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
        require_writable(home, key="PREFECT_HOME")
    where = f"the server at {url}" if url else "a temporary local server (about 20 s)"
    console.print(f"Starting Prefect with {where} ...", highlight=False)


def summarize(result: RunResult) -> dict[str, Any]:
    """Return the results of a run, as JSON values."""
    from tasks.evaluation import read_scores
    from tasks.samples import run_verdict

    summary: dict[str, Any] = {
        "name": result.name,
        "folder": str(result.folder),
        "artifacts": {name: handle.key for name, handle in result.stages().items()},
        "selected": {name: handle.summary() for name, handle in result.selections.items()},
    }
    if result.scores:
        scores = read_scores(result.scores)
        summary["scores"] = json.loads(scores.to_json(orient="records"))
        summary["macro_average"] = {
            name: handle.summary()["macro_average"] for name, handle in result.scores.items()
        }
    verdict = run_verdict(result)
    if verdict is not None:
        summary["verdict"] = verdict.to_dict()
    return summary


def print_result(result: RunResult) -> None:
    """Print what was selected, the scores and where everything is."""
    from flows.console import output_console

    console = output_console()
    console.print()
    if result.data is not None:
        _print_data(console, result)
    if result.selections:
        _print_selected(console, result)
        _print_first_picks(console, result)
    if result.scores:
        from tasks.evaluation import read_scores
        from tasks.samples import run_verdict

        print_scores(console, read_scores(result.scores))
        verdict = run_verdict(result)
        if verdict is not None:
            print_verdict(console, verdict.to_dict())
    console.print(f"Everything is in [bold]{result.folder}[/]")
    for name, what in (
        ("report.html", "the report: open it in a browser"),
        ("analysis", "the tables behind the report's figures"),
        ("selected", "picks of each method as JSONL, and a `datasets` folder"),
        ("ranking.parquet", "rank, utility and winning validation instance of each pick"),
        ("scores.parquet", "scores per task and method"),
        ("rejects.jsonl", "rejected rows, and why"),
        ("overlap.parquet", "rows of pool, validation and test that share text"),
        ("manifest.json", "configuration, artifacts, versions"),
    ):
        here = result.folder is not None and (result.folder / name).exists()
        if here and (name != "scores.parquet" or result.scores):  # not an earlier run's
            console.print(f"  {name:16} {what}")


def _print_data(console: Console, result: RunResult) -> None:
    from tasks.prepare import load_prepared

    if result.data is None:
        return
    data = load_prepared(result.data)
    rejects = f", {len(data.rejects)} rows rejected" if data.rejects else ""
    console.print(
        f"{len(data.train)} pool rows, {len(data.validation)} validation instances, "
        f"{len(data.test)} test rows{rejects}.\n"
    )


def _print_selected(console: Console, result: RunResult) -> None:
    from flows.console import table
    from tasks.prepare import load_prepared
    from tasks.selection import read_selection

    if result.data is None:
        return
    counts = {"pool": load_prepared(result.data).train.frame["source"].value_counts()} | {
        name: read_selection(handle)["source"].value_counts()
        for name, handle in result.selections.items()
    }
    shown, rest = list(counts["pool"].index[:_SOURCES]), list(counts["pool"].index[_SOURCES:])
    groups = [(source, [source]) for source in shown]
    if rest:
        groups.append((f"{len(rest)} other sources", rest))
    groups.append(("total", shown + rest))
    rows = [
        [name, *[int(count.reindex(sources).sum()) for count in counts.values()]]
        for name, sources in groups
    ]
    console.print(table("Selected examples by source", ["source", *counts], rows))
    console.print()


def _print_first_picks(console: Console, result: RunResult) -> None:
    from bids_core.data import from_json, prompt_messages
    from flows.console import table
    from tasks.prepare import load_prepared
    from tasks.selection import read_selection

    if result.data is None:
        return
    method, handle = next(iter(result.selections.items()))
    picks = read_selection(handle).head(_FIRST_PICKS)
    frame = load_prepared(result.data).train.frame
    messages = dict(zip(frame["row_id"], frame["messages"], strict=True))
    rows = []
    for pick in picks.to_dict(orient="records"):
        text = " ".join(prompt_messages(from_json(messages[pick["row_id"]]))[-1].content.split())
        shown = text if len(text) <= _TEXT_SHOWN else f"{text[:_TEXT_SHOWN]}..."
        rows.append([pick["rank"], pick["source"], shown, pick["winning_task"]])
    title = f"First picks of {method}"
    console.print(table(title, ["rank", "source", "prompt", "picked for"], rows))
    console.print()


def print_scores(console: Console, scores: pd.DataFrame) -> None:
    """Print scores per task and method, and macro averages."""
    from bids_core.evaluation import macro_average
    from flows.console import table

    methods = list(dict.fromkeys(scores["method"]))
    cells = {(row["task"], row["method"]): row for row in scores.to_dict(orient="records")}
    rows: list[list[object]] = []
    for task in dict.fromkeys(scores["task"]):
        first = cells[task, methods[0]]
        shown = [_score(cells[task, method]) for method in methods]
        metric = first["metric"].partition(",")[0]  # the suites' are lm-eval's `metric,filter`
        rows.append([task, metric, first["n"], first["majority"], *shown])
    averages = {m: macro_average(scores[scores["method"] == m])["task"] for m in methods}
    shown = ["-" if math.isnan(averages[m]) else f"{averages[m]:.3f}" for m in methods]
    rows.append(["macro average", None, None, None, *shown])
    title = "Scores (held-out answer loss in brackets)"
    console.print(table(title, ["task", "metric", "n", "majority", *methods], rows))
    console.print()


def print_verdict(console: Console, verdict: Mapping[str, Any]) -> None:
    """Print the verdict of a run or comparison: badge, verdict, then one line per sentence."""
    lead, *rest = verdict["sentences"]
    console.print(f"[bold]{verdict['label']}[/]", highlight=False)
    console.print(lead, markup=False, highlight=False)
    for sentence in rest:
        console.print(f"  {sentence}", markup=False, highlight=False)
    console.print()


def _score(cell: Mapping[Any, Any]) -> str:
    """Return score and answer loss; a dash without a score, no brackets without a loss."""
    score, loss = cell["score"], cell["answer_loss"]
    shown = "-" if math.isnan(score) else f"{score:.3f}"
    return shown if math.isnan(loss) else f"{shown}  ({loss:.2f})"
