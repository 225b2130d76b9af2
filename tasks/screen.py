"""Stage `screen`: the rows of a pool that get gradients, if not all do (docs/cheaper.md).

Its result is prepared data whose pool is a part of the run's. Later stages treat it like any
prepared data, so gradients and influence need not know about the shortcut. `screen.parquet` says
which rows were kept and why.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from bids_core.artifacts import Draft, Handle, Identity
from bids_core.config import RunConfig
from bids_core.config.slices import sliced
from bids_core.data import read_table
from bids_core.data.splits import Split
from bids_core.influence.stored import open_attribution
from bids_core.selection import METHODS, make_request, run_request
from bids_core.training.warmup import random_rows
from tasks.attribution import MATRIX
from tasks.prepare import load_prepared, pool_keys, rows_digest
from tasks.representations import Representations, signal_identity, signal_keys, signals
from tasks.runtime.stage import stage_task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bids_core.progress import Progress

VERSION: Final = 1
ROWS: Final = "screen.parquet"
POOLING: Final = "rds_plus"
"""The hidden states from which influence is inferred."""
KEPT, SAMPLED = "kept", "sampled"


def identify_sample(config: RunConfig, data: Handle, count: int) -> Identity:
    """Return the identity of a random sample of the pool."""
    return Identity(
        "screen",
        VERSION,
        config={"sample": {"rows": count}},
        inputs={"train": data.summary()["digests"]["train"]},
        seed=config.seed,
        uses=(data.key,),
    )


def compute_sample(
    config: RunConfig, data: Handle, count: int, *, draft: Draft, progress: Progress
) -> None:
    """Draw random rows of the pool: landmarks, or the sample of `bids plan`."""
    rows = _random(config, data, count)
    _save(data, rows, [SAMPLED] * len(rows), draft)
    progress(len(rows), len(rows))


run_sample = stage_task(
    "screen",
    identify_sample,
    compute_sample,
    label="random rows",
    unit="rows",
    task_run_name="random rows",
)


def identify(
    config: RunConfig,
    data: Handle,
    states: Mapping[str, Representations],
    inferred: Handle | None = None,
) -> Identity:
    """Return the identity of the rows that get gradients.

    Args:
        config: the run.
        data: the prepared data.
        states: hidden states, for the methods that need them.
        inferred: the matrix inferred from landmarks, if that is the signal.
    """
    digests = data.summary()["digests"]
    inputs = {name: digests[name] for name in ("train", "validation", "sources")}
    by = config.screen.by or ""
    if inferred is not None:
        inputs["inferred"] = inferred.fingerprint
        keys = [inferred.key]
    else:
        inputs |= signal_identity(by, data, states)
        keys = signal_keys(by, states)
    return Identity(
        "screen",
        VERSION,
        config=sliced(config, "screen"),
        inputs=inputs,
        seed=config.seed,
        uses=(data.key, *keys),
    )


def compute(
    config: RunConfig,
    data: Handle,
    states: Mapping[str, Representations],
    inferred: Handle | None = None,
    *,
    draft: Draft,
    progress: Progress,
) -> None:
    """Pick the rows that get gradients with the cheap method, and add the random ones."""
    prepared = load_prepared(data)
    place = {row_id: row for row, row_id in enumerate(prepared.train.row_ids)}
    kept = {place[row_id] for row_id in _picked(config, data, states, inferred)}
    count = config.screen.sample if inferred is None else config.landmarks.rows or 0
    rows = sorted(kept | set(_random(config, data, count)))
    _save(data, rows, [KEPT if row in kept else SAMPLED for row in rows], draft)
    progress(len(rows), len(rows))


run_screen = stage_task("screen", identify, compute, unit="rows")


def _random(config: RunConfig, data: Handle, count: int) -> list[int]:
    return [int(row) for row in random_rows(pool_keys(data), count, seed=config.seed)]


def _picked(
    config: RunConfig,
    data: Handle,
    states: Mapping[str, Representations],
    inferred: Handle | None,
) -> list[str]:
    """Return the ids of the rows that the cheap method picks."""
    prepared, by = load_prepared(data), config.screen.by or ""
    frame = prepared.validation.frame
    ids = prepared.train.row_ids
    given: dict[str, Any] = {
        "method": by,
        "tasks": frame["task"].tolist(),
        "subtasks": [subtask or "" for subtask in frame["subtask"]],
        "validation_ids": prepared.validation.row_ids,
        "row_ids": ids,
    }
    matrix = None
    if inferred is not None:
        attribution = open_attribution(inferred.path() / MATRIX)
        matrix, ids = attribution.matrix, attribution.row_ids
        given |= {
            "method": "bids",
            "tasks": attribution.tasks,
            "subtasks": attribution.subtasks,
            "validation_ids": attribution.validation_ids,
            "row_ids": ids,
        }
    else:
        given |= signals(by, prepared, states, ids)
    sources = prepared.train.frame.set_index("row_id").loc[ids, "source"].tolist()
    request = make_request(matrix, config.screen.keep, sources=sources, seed=config.seed, **given)
    return [ids[int(row)] for row in run_request(request).indices]


def _save(data: Handle, rows: list[int], why: list[str], draft: Draft) -> None:
    prepared = load_prepared(data)
    part = Split(prepared.train.frame.iloc[rows].reset_index(drop=True))
    replace(prepared, train=part).save(draft.path)
    table = pd.DataFrame({"row_id": part.row_ids, "why": why})
    table.to_parquet(draft.path / ROWS, index=False)
    draft.summary |= {
        "rows": len(rows),
        "pool_rows": len(prepared.train),
        "kept": why.count(KEPT),
        "sampled": why.count(SAMPLED),
        "digests": data.summary()["digests"]
        | {
            "train": rows_digest(part.frame),
            "sources": hashlib.sha256("\n".join(part.frame["source"]).encode()).hexdigest(),
        },
    }


def screened_rows(part: Handle) -> pd.DataFrame:
    """Return `row_id` and `why` (`kept` by the cheap method, or `sampled`) of a screen's rows."""
    return read_table(part.path() / ROWS)


def states_method(config: RunConfig) -> list[str]:
    """Return the methods whose hidden states a run needs before any gradients."""
    if config.landmarks.rows is not None:
        return [POOLING]
    by = config.screen.by
    return [] if by is None or METHODS[by].needs == "texts" else [by]
