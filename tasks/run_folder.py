"""Last stage: `runs/<name>/`, the folder that gathers what a person wants."""

from __future__ import annotations

import datetime
import json
import shutil
import time
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pandas as pd
from prefect import task

from bids_core.artifacts import Handle, referred
from bids_core.config import RunConfig
from bids_core.report import build_report
from tasks.analysis import PAGE, TABLES
from tasks.evaluation import SAMPLES, read_scores
from tasks.kept_warmup import coverage_facts
from tasks.prepare import load_prepared
from tasks.report_inputs import all_rejects, collect, stage_timings
from tasks.run_result import RunResult
from tasks.runtime.progress import current
from tasks.selected_data import publish, with_extra, write_selected
from tasks.selection import read_selection

MANIFEST: Final = "manifest.json"


@task(name="gather")
def gather_run(config: RunConfig, result: RunResult) -> RunResult:
    """Write the run folder."""
    started = time.perf_counter()
    result = write_run_folder(config, result.with_stage(artifacts=tuple(referred())))
    if result.selections and result.folder is not None:
        publish(config, result.selections, result.folder)
    current().end("report", seconds=time.perf_counter() - started, cached=False)
    return result


def write_run_folder(config: RunConfig, result: RunResult) -> RunResult:
    """Write selected data, ranking, scores, report, rejects and manifest of a run."""
    folder = config.output_dir.resolve() / config.name
    folder.mkdir(parents=True, exist_ok=True)
    result = result.with_stage(folder=folder)
    if result.data is not None:
        data = load_prepared(result.data)
        lines = (json.dumps(asdict(reject)) for reject in all_rejects(data, result.matrix))
        replace_file(folder / "rejects.jsonl", "".join(f"{line}\n" for line in lines))
        data.overlap.to_parquet(folder / "overlap.parquet", index=False)
        if result.selections:
            write_selected(config, data, result.selections, folder)
            main = read_selection(result.selections[config.selection.main])
            with_extra(main, data).to_parquet(folder / "ranking.parquet", index=False)
    if result.scores:
        read_scores(result.scores).to_parquet(folder / "scores.parquet", index=False)
        samples = [
            pd.read_parquet(handle.path() / SAMPLES).assign(method=method)
            for method, handle in result.scores.items()
        ]
        pd.concat(samples, ignore_index=True).to_parquet(folder / "samples.parquet", index=False)
    if result.analysis is not None:
        _write_analysis(result.analysis, folder)
        replace_file(folder / "report.html", build_report(collect(config, result)))
    replace_file(folder / MANIFEST, json.dumps(_manifest(config, result), indent=1))
    return result


def _write_analysis(analysis: Handle, folder: Path) -> None:
    """Copy the tables and the page of figures."""
    aside = folder / f".analysis-{uuid.uuid4().hex}"
    shutil.copytree(analysis.path() / TABLES, aside)
    shutil.rmtree(folder / TABLES, ignore_errors=True)
    aside.rename(folder / TABLES)
    replace_file(folder / PAGE, (analysis.path() / PAGE).read_text(encoding="utf-8"))


def _manifest(config: RunConfig, result: RunResult) -> dict[str, Any]:
    records = {name: handle.record() for name, handle in result.stages().items()}
    return {
        "name": config.name,
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "config": config.model_dump(mode="json"),
        "result": result.model_dump(mode="json"),
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
        "timings": stage_timings(records, since=result.started),
        "versions": next(iter(records.values()))["versions"] if records else {},
    }


def replace_file(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new one, never half of it."""
    aside = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
