"""A run folder made by hand: forty rows, three instances, eight picks; no model."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import zarr

from bids_core.artifacts import ArtifactStore
from bids_core.data import PreparedData, Split
from bids_core.selection import select

TASKS = ["math", "math", "code"]


def split(names, sources, tasks, *, text):
    count = len(names)
    return Split(
        pd.DataFrame(
            {
                "row_id": names, "source": sources, "location": ["f:1"] * count,
                "messages": [
                    json.dumps([{"role": "user", "content": f"{text} {name}?"},
                                {"role": "assistant", "content": "Yes."}])
                    for name in names
                ],
                "task": tasks, "capability": tasks, "subtask": [None] * count,
                "choices": [None] * count,
                "fields": [None] * count,
                "n_tokens": [2] * count, "n_completion_tokens": [1] * count,
                "input_ids": [np.array([1, 2], dtype=np.int32)] * count,
                "labels": [np.array([-100, 2], dtype=np.int32)] * count,
            }
        )
    )  # fmt: skip


def make_run(folder, rows, *, inferred=None):
    """Make the folder; `inferred` has the landmark and the expected error of each row."""
    store = ArtifactStore(str(folder / "store"))
    instances = ["v0", "v1", "v2"]
    values = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    picks = select(values, 8)
    parts = {"config": {}, "inputs": {}, "version": 1}
    with store.create("prepare", "a" * 32, **parts) as draft:
        PreparedData(
            train=split(rows, ["s"] * 40, [None] * 40, text="Pool"),
            validation=split(instances, TASKS, TASKS, text="Validation"),
            test=split(["t0"], ["math"], ["math"], text="Test"),
        ).save(draft.path)
    with store.create("attribution", "b" * 32, **parts) as draft:
        group = zarr.open_group(draft.path / "attribution.zarr", mode="w", zarr_format=3)
        group.attrs["checkpoint_weights"] = [1.0]
        group.create_array("attribution", data=values, chunks=(16, 3))
        for name, names in {
            "row_ids": rows, "validation_ids": instances, "tasks": TASKS,
            "capabilities": TASKS, "subtasks": [""] * 3,
        }.items():  # fmt: skip
            group.create_array(name, data=np.array(names, dtype="T"))
        for name, numbers in (inferred or {}).items():
            group.create_array(name, data=np.array(numbers))
    settings = {"selection": {"method": "bids", "budget": 8, "normalization": "zscore"}, "seed": 0}
    with store.create("selection", "c" * 32, **(parts | {"config": settings}), seed=0) as draft:
        picks.to_frame(rows, ["s"] * 40, instances, TASKS).to_parquet(
            draft.path / "selection.parquet"
        )
    handles = {
        stage: store.handle(stage, letter * 32).model_dump()
        for stage, letter in (("prepare", "a"), ("attribution", "b"), ("selection", "c"))
    }
    manifest = {
        "config": {"selection": {"method": "bids"}},
        "result": {
            "data": handles["prepare"], "matrix": handles["attribution"],
            "selections": {"bids": handles["selection"]},
        },
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder, picks
