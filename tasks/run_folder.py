"""Last stage: `runs/<name>/`, the folder with everything a person wants from a run."""

from __future__ import annotations

import datetime
import json
import shutil
import time
import uuid
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import task

from bids_core.artifacts import Handle, referred
from bids_core.config import RunConfig
from bids_core.data import read_table
from bids_core.records import Reject
from bids_core.report import write_report
from tasks.analysis import TABLES
from tasks.evaluation import SAMPLES, read_scores
from tasks.explain_files import write_explain_files
from tasks.kept_warmup import coverage_facts
from tasks.locations import relative_location
from tasks.manifest import read_manifest, replace_file, shown_config, write_manifest
from tasks.prepare import load_prepared
from tasks.report_inputs import all_rejects, collect, stage_timings
from tasks.run_result import RunResult
from tasks.runtime.progress import current
from tasks.screen_facts import screen_facts
from tasks.selected_data import publish, with_extra, write_selected
from tasks.selection import read_selection


@task(name="gather")
def gather_run(config: RunConfig, result: RunResult) -> RunResult:
    """Write the run folder."""
    started = time.perf_counter()
    result = write_run_folder(config, result.with_stage(artifacts=tuple(referred())))
    if result.selections and result.folder is not None:
        publish(config, result.selections, result.folder)
    current().end("report", seconds=time.perf_counter() - started, cached=False)
    return result


def write_run_folder(
    config: RunConfig, result: RunResult, *, folder: Path | None = None
) -> RunResult:
    """Write selected data, ranking, scores, report, rejects and manifest of a run.

    Args:
        config: the run.
        result: its artifacts.
        folder: where to write; None: where the configuration says.
    """
    folder = config.output_dir.resolve() / config.name if folder is None else folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    result = result.with_stage(folder=folder, name=folder.name)
    if result.data is not None:
        data = load_prepared(result.data)
        rejects = [_seen_from(folder, reject) for reject in all_rejects(data, result.matrix)]
        lines = (json.dumps(asdict(reject)) for reject in rejects)
        replace_file(folder / "rejects.jsonl", "".join(f"{line}\n" for line in lines))
        data.overlap.to_parquet(folder / "overlap.parquet", index=False)
        if result.selections:
            shown = shown_config(config, folder / "selected")
            write_selected(shown, data, result.selections, folder)
            main = read_selection(result.selections[config.selection.main])
            with_extra(main, data).to_parquet(folder / "ranking.parquet", index=False)
            if result.matrix is not None:
                write_explain_files(folder, data, result.matrix, result.selections)
    if result.scores:
        read_scores(result.scores).to_parquet(folder / "scores.parquet", index=False)
        samples = [
            read_table(handle.path() / SAMPLES).assign(method=method)
            for method, handle in result.scores.items()
        ]
        pd.concat(samples, ignore_index=True).to_parquet(folder / "samples.parquet", index=False)
    if result.analysis is not None:
        _write_analysis(result.analysis, folder)
        inputs = collect(shown_config(config, folder), result)
        rejected = [
            {**row, "location": relative_location(row["location"], folder)}
            for row in inputs.rejects
        ]
        inputs = replace(inputs, name=folder.name, rejects=rejected)
        write_report(inputs, folder / "report.html")
    write_manifest(folder, config, result.model_dump(mode="json"), _facts(config, result))
    return result


def write_run_folder_anew(folder: Path) -> RunResult:
    """Rewrite the folder of a finished run in place, from its manifest.

    Raises:
        ConfigError: the folder is not a run's.
        ArtifactError: an artifact of the run is gone.
    """
    manifest = read_manifest(folder)
    result = RunResult.model_validate(manifest.result)
    return write_run_folder(manifest.config, result, folder=folder)


def _seen_from(folder: Path, reject: Reject) -> Reject:
    return replace(reject, location=relative_location(reject.location, folder))


def _write_analysis(analysis: Handle, folder: Path) -> None:
    """Copy the tables."""
    aside = folder / f".analysis-{uuid.uuid4().hex}"
    shutil.copytree(analysis.path() / TABLES, aside)
    shutil.rmtree(folder / TABLES, ignore_errors=True)
    aside.rename(folder / TABLES)
    (folder / "analysis.html").unlink(missing_ok=True)  # of earlier versions; the report has it all


def _facts(config: RunConfig, result: RunResult) -> dict[str, Any]:
    """Return what the manifest records besides configuration and artifacts."""
    records = {name: handle.record() for name, handle in result.stages().items()}
    return {
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "stages": {
            name: {key: record[key] for key in ("stage", "fingerprint", "seconds", "created")}
            for name, record in records.items()
        },
        "artifacts": list(result.artifacts),
        "warmup": None
        if result.data is None or result.warm is None
        else {
            "artifact": result.warm.key,
            "coverage": coverage_facts(config, result.data, result.warm),
        },
        "screen": screen_facts(config, result),
        "timings": stage_timings(records, since=result.started),
        "versions": next(iter(records.values()))["versions"] if records else {},
    }
