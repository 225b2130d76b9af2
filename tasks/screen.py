"""Stages `screen` and `inference`: rows that do without gradients (docs/cheaper.md).

`screen` leaves prepared data whose pool is a part of the run's: the rows that get gradients. What
follows takes it as any prepared data, so that gradients and influence know of no shortcut. Which
rows they are and why is in `screen.parquet`.

`inference` leaves an attribution matrix of the whole pool, inferred from that of the landmarks.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from bids_core.artifacts import Draft, Handle, Identity
from bids_core.config import RunConfig
from bids_core.config.screen import LANDMARKS
from bids_core.config.slices import sliced
from bids_core.data.row_keys import distinct_keys
from bids_core.data.splits import Split
from bids_core.gradients import open_store
from bids_core.influence.attribution import open_attribution, write_inferred
from bids_core.influence.landmarks import fit_landmarks
from bids_core.influence.matrix import Matrix
from bids_core.selection import METHODS, make_request, run_request
from bids_core.training.warmup import draw
from tasks.attribution import MATRIX
from tasks.gradients import FEATURES
from tasks.prepare import load_prepared, pool_keys, rows_digest
from tasks.representations import Representations, signal_identity, signal_keys, signals
from tasks.runtime.stage import stage_task

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from bids_core.progress import Progress

VERSION: Final = 1
INFERENCE_VERSION: Final = 2
ROWS: Final = "screen.parquet"
POOLING: Final = "rds_plus"
"""Hidden states that influence is inferred from."""
KEPT, SAMPLED = "kept", "sampled"
_SEED: Final = "screen"


def random_rows(config: RunConfig, data: Handle, count: int) -> list[int]:
    """Return the places of `count` random rows of the pool, in order; all if it has fewer.

    Each row has a number that content and seed decide, and the lowest are taken: rows that join the
    pool displace few.
    """
    drawn = [draw(f"{_SEED}:{key}", config.seed) for key in distinct_keys(pool_keys(data))]
    return sorted(int(row) for row in np.argsort(drawn, kind="stable")[:count])


def identify_landmarks(config: RunConfig, data: Handle) -> Identity:
    """Return what the landmarks are drawn from."""
    return Identity(
        "screen",
        VERSION,
        config={"landmarks": {"rows": config.landmarks.rows}},
        inputs={"train": data.summary()["digests"]["train"]},
        seed=config.seed,
        uses=(data.key,),
    )


def compute_landmarks(config: RunConfig, data: Handle, *, draft: Draft, progress: Progress) -> None:
    """Draw the landmarks: random rows of the pool."""
    rows = random_rows(config, data, config.landmarks.rows or 0)
    _save(data, rows, [SAMPLED] * len(rows), draft)
    progress(len(rows), len(rows))


run_landmarks = stage_task(
    "screen", identify_landmarks, compute_landmarks, label="landmarks", unit="rows",
    task_run_name="landmarks",
)  # fmt: skip


def identify_sample(config: RunConfig, data: Handle, count: int) -> Identity:
    """Return what a sample of the pool is drawn from."""
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
    """Draw a sample that settings are tried on: random rows of the pool."""
    rows = random_rows(config, data, count)
    _save(data, rows, [SAMPLED] * len(rows), draft)
    progress(len(rows), len(rows))


run_sample = stage_task(
    "screen", identify_sample, compute_sample, label="sample", unit="rows", task_run_name="sample"
)


def identify(
    config: RunConfig,
    data: Handle,
    states: Mapping[str, Representations],
    inferred: Handle | None = None,
) -> Identity:
    """Return what the rows that get gradients are picked by.

    Args:
        config: the run.
        data: the prepared data.
        states: hidden states, for the methods that need them.
        inferred: the matrix inferred from landmarks, where that is the signal.
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
    rows = sorted(kept | set(random_rows(config, data, count)))
    _save(data, rows, [KEPT if row in kept else SAMPLED for row in rows], draft)
    progress(len(rows), len(rows))


run_screen = stage_task("screen", identify, compute, unit="rows")


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
    return pd.read_parquet(part.path() / ROWS)


def identify_inference(
    config: RunConfig,  # noqa: ARG001 - the matrix has it all
    data: Handle,
    matrix: Handle,
    states: Mapping[str, Representations],
) -> Identity:
    """Return what the inferred matrix is made from: landmarks' influence and all hidden states."""
    shards = [shard for one in (states[POOLING],) for shard in one.train]
    return Identity(
        "inference",
        INFERENCE_VERSION,
        config={},
        inputs={
            "attribution": matrix.fingerprint,
            "train": data.summary()["digests"]["train"],
            "representations": [shard.fingerprint for shard in shards],
        },
        uses=(data.key, matrix.key, *(shard.key for shard in shards)),
    )


def compute_inference(
    config: RunConfig,  # noqa: ARG001 - as `identify_inference`
    data: Handle,  # noqa: ARG001
    matrix: Handle,
    states: Mapping[str, Representations],
    *,
    draft: Draft,
    progress: Progress,
) -> None:
    """Infer the influence of all rows from the landmarks'."""
    known = open_attribution(matrix.path() / MATRIX)
    store = open_store([shard.path() / FEATURES for shard in states[POOLING].train])
    place = {row_id: row for row, row_id in enumerate(store.row_ids)}
    landmarks = [place[row_id] for row_id in known.row_ids]
    fitted = fit_landmarks(Matrix(store).take(landmarks), known.values())
    write_inferred(draft.path / MATRIX, known, fitted, store, on_progress=progress)
    draft.summary |= matrix.summary() | {
        "landmarks": len(landmarks),
        "pool_rows": store.n_rows,
        "agreement": _median(fitted.agreement),
        "agreement_by_task": {
            task: _median(fitted.agreement[[t == task for t in known.tasks]])
            for task in dict.fromkeys(known.tasks)
        },
    }


def _median(values: npt.NDArray[np.float64]) -> float | None:
    """Return the median of what is known; None where nothing is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


run_inference = stage_task("inference", identify_inference, compute_inference, unit="rows")


def is_by_landmarks(config: RunConfig) -> bool:
    """Return whether a run infers influence from landmarks, for good or to screen by it."""
    return config.landmarks.rows is not None or config.screen.by == LANDMARKS


def states_method(config: RunConfig) -> list[str]:
    """Return the methods whose hidden states a run needs before any gradient."""
    if is_by_landmarks(config):
        return [POOLING]
    by = config.screen.by
    return [] if by is None or METHODS[by].needs == "texts" else [by]
