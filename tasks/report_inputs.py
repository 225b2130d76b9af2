"""From the handles of a run to the inputs of its report."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pandas as pd

from bids_core.data import from_json, read_table
from bids_core.data.conversation import said
from bids_core.influence.stored import open_attribution
from bids_core.records import Reject
from bids_core.report import ReportInputs
from tasks.analysis import analysis_table, few_columns
from tasks.attribution import MATRIX
from tasks.evaluation import SAMPLES, read_scores
from tasks.kept_warmup import coverage_facts
from tasks.prepare import load_prepared
from tasks.samples import run_comparison
from tasks.screen_facts import screen_facts
from tasks.selection import read_selection
from tasks.validation_file import read_validation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bids_core.artifacts import Handle
    from bids_core.config import RunConfig
    from bids_core.data import PreparedData
    from tasks.run_result import RunResult


def collect(config: RunConfig, result: RunResult) -> ReportInputs:
    """Read the artifacts of a run that has at least its selections.

    Raises:
        ArtifactError: an artifact is gone.
    """
    if result.data is None or result.warm is None or result.matrix is None:
        msg = "a report needs prepared data, warmup and attribution"
        raise ValueError(msg)
    data = load_prepared(result.data)
    attribution = open_attribution(result.matrix.path() / MATRIX)
    source_of = dict(zip(data.train.frame["row_id"], data.train.frame["source"], strict=True))
    selections = {
        name: with_influence(read_selection(handle), attribution.row_ids)
        for name, handle in result.selections.items()
    }
    shards = [shard for part in result.gradients for shard in (*part.train, *part.validation)]
    records = {name: handle.record() for name, handle in result.stages().items()}
    return ReportInputs(
        name=config.name,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        model=config.model.path,
        main_method=config.selection.main,
        config=config.model_dump(mode="json"),
        data=data.summary,
        attribution=attribution.values(),
        row_ids=list(attribution.row_ids),
        sources=[source_of[row_id] for row_id in attribution.row_ids],
        validation_ids=list(attribution.validation_ids),
        tasks=list(attribution.tasks),
        capabilities=list(attribution.capabilities),
        selections=selections,
        rejects=[asdict(reject) for reject in all_rejects(data, result.matrix)],
        warmup=result.warm.summary()
        | {"coverage": coverage_facts(config, result.data, result.warm)},
        gradients=[shard.summary() for shard in shards],
        conversations=_conversations(data),
        scores=read_scores(result.scores) if result.scores else None,
        comparison=run_comparison(result),
        timings=stage_timings(records, since=result.started),
        versions=next(iter(records.values()))["versions"],
        breakdown=None if result.analysis is None else analysis_table(result.analysis, "breakdown"),
        tables={} if result.analysis is None else analysis_tables(result.analysis),
        validation=None
        if result.folder is None
        else read_validation(result.folder, result.matrix.key),
        row_columns=few_columns(data, attribution.row_ids),
        screen=screen_facts(config, result),
        answers=given_answers(result, data),
        files={name: f"selected/{name}.jsonl" for name in result.selections},
        folder=result.folder,
    )


def with_influence(picks: pd.DataFrame, row_ids: Sequence[str]) -> pd.DataFrame:
    """Return the picks that have influence: all but those that a screen left out."""
    return picks[picks["row_id"].isin(list(row_ids))].reset_index(drop=True)


def all_rejects(data: PreparedData, matrix: Handle | None) -> list[Reject]:
    """Return the rows left out so far: by `prepare`, and for a gradient that is not finite."""
    found = list(data.rejects)
    if matrix is None:
        return found
    summary = matrix.summary()
    for split, name in (
        ("train", "nonfinite_row_ids"),
        ("validation", "nonfinite_validation_ids"),
    ):
        frame = getattr(data, split).frame.set_index("row_id")
        for row_id in summary[name]:
            row = frame.loc[row_id]
            detail = (
                "its loss or gradient is NaN or infinite at some checkpoint; check the row "
                "and the warmup loss, or use model.dtype float32"
            )
            found.append(
                Reject(row["location"], "nonfinite-gradient", detail, split, row["source"], row_id)
            )
    return found


def analysis_tables(analysis: Handle) -> dict[str, pd.DataFrame]:
    """Return those tables of an analysis that apply to the run and that the report shows."""
    names = ("checkpoint_agreement", "without_checkpoint", "without_task", "without_instance",
             "near_duplicates", "columns", "histograms")  # fmt: skip
    tables = {name: analysis_table(analysis, name) for name in names}
    return {name: table for name, table in tables.items() if table is not None}


def given_answers(result: RunResult, data: PreparedData) -> pd.DataFrame | None:
    """Return every evaluated model's answers to the test rows; None without an evaluation."""
    if not result.scores:
        return None
    parts = [
        read_table(handle.path() / SAMPLES).assign(method=method)
        for method, handle in result.scores.items()
    ]
    rows = pd.concat(parts, ignore_index=True)
    tests = data.test.frame
    asked = dict(zip(tests["row_id"], map(_question, tests["messages"]), strict=True))
    questions = [
        asked.get(row_id, prompt)
        for row_id, prompt in zip(rows["row_id"], rows["prompt"], strict=True)
    ]
    chosen = rows["generation"].fillna(rows["prediction"])  # multiple choice generates no answer
    columns = ["method", "task", "row_id", "reference", "score"]
    return rows[columns].assign(question=questions, answer=chosen)


def _question(messages: str) -> str:
    """Return the user's last question."""
    asked = [said(turn) for turn in from_json(messages) if turn.role == "user"]
    return asked[-1] if asked else ""


def stage_timings(
    records: Mapping[str, Mapping[str, Any]], *, since: datetime.datetime
) -> dict[str, dict[str, Any]]:
    """Return the seconds and peak memory of each step, and whether it was cached.

    Gradient shards of one checkpoint and split are summed. A step is cached if its artifact was
    made before this run began.
    """
    timings: dict[str, dict[str, Any]] = {}
    for name, record in records.items():
        step = name.split(" shard ")[0]
        entry = timings.setdefault(step, {"seconds": 0.0, "cached": True, "peak_memory_bytes": 0})
        entry["seconds"] += record["seconds"]
        entry["cached"] &= datetime.datetime.fromisoformat(record["created"]) < since
        peak = record["summary"].get("peak_memory_bytes") or 0
        entry["peak_memory_bytes"] = max(entry["peak_memory_bytes"], peak)
    return timings


def _conversations(data: PreparedData) -> dict[str, str]:
    train, validation = data.train.frame, data.validation.frame
    texts = dict(zip(train["row_id"], train["messages"], strict=True))
    return texts | dict(zip(validation["row_id"], validation["messages"], strict=True))
