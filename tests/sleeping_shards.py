"""Gradient shards that sleep and write, for measurements of what surrounds them.

Everything is the real thing but the model: data, identities, locks, the store, flow and task runs.
The features are random numbers. `python -m sleeping_shards work POOL SECONDS` is a worker that runs
the groups of shards which a run hands out, one after the other, in this one process: it spares each
flow run the start of a Python and its imports, which are measured elsewhere.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

CHECKPOINTS, ROWS_PER_SHARD, VALIDATION = 4, 4, 4
IDLE_SECONDS = 0.2


def write_project(folder: Path, model: Path, *, shards: int, **execution: Any) -> dict[str, Any]:
    """Write a pool that makes so many shards of training rows; returns the configuration."""
    rows = shards // CHECKPOINTS * ROWS_PER_SHARD
    for name, count in (("pool", rows), ("validation", VALIDATION)):
        text = "".join(
            json.dumps({"prompt": f"{name} {i}?", "completion": str(i)}) + "\n"
            for i in range(count)
        )
        (folder / f"{name}.jsonl").write_text(text)
    return {
        "name": "many-shards",
        "output_dir": str(folder / "runs"),
        "store": str(folder / "store"),
        "model": {"path": str(model), "dtype": "float32", "device": "cpu"},
        "pool": [{"path": str(folder / "pool.jsonl")}],
        "validation": [
            {"task": "any", "capability": "any", "path": str(folder / "validation.jsonl")}
        ],
        "data": {"max_length": 64},
        "warmup": {"epochs": CHECKPOINTS},
        "gradients": {"dim": 2048, "rows_per_shard": ROWS_PER_SHARD},
        "selection": {"budget": 2},
        "finetune": {"enabled": False},
        "execution": {"gradients": "deployment"} | execution,
    }


def leave_warmup(config: dict[str, Any]) -> None:
    """Prepare the data, and leave an empty warmup in the store, so that nothing is trained."""
    from bids_core.artifacts import ArtifactStore
    from bids_core.config import RunConfig
    from tasks.prepare import load_prepared, prepare_data
    from tasks.warmup import run_warmup

    run = RunConfig.model_validate(config)
    data = prepare_data.fn(run).data
    tokens = int(load_prepared(data).train.frame["n_tokens"].sum())

    def fill(draft: Any) -> None:
        draft.path.joinpath("empty").touch()
        draft.summary |= {
            "checkpoint_weights": [1 / CHECKPOINTS] * CHECKPOINTS,
            "seconds": 1.0, "tokens": tokens,
        }  # fmt: skip

    ArtifactStore(run.store).get_or_compute(run_warmup.identify(run, data), fill)


def sleep_instead(seconds: float) -> None:
    """Let shards of this process sleep and be random, instead of computing gradients."""
    import torch

    import tasks.gradients
    from bids_core.gradients import Features

    def computed(config: Any, _data: Any, _warm: Any, _shard: Any, examples: Any, _: Any) -> Any:
        started = time.perf_counter()
        time.sleep(seconds)
        values = torch.randn(len(examples), config.gradients.dim)
        ids = [example.row_id for example in examples]
        return Features(
            values, values.norm(dim=1), torch.ones(len(ids)), ids, [], 0.0,
            sum(example.n_tokens for example in examples), time.perf_counter() - started,
        )  # fmt: skip

    tasks.gradients._computed = computed


def work(pool: str, seconds: float) -> None:
    """Run what is scheduled in a pool, for ever."""
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow
    from prefect.states import Pending

    from bids_select import gradient_shards

    sleep_instead(seconds)
    with (
        get_client(sync_client=True) as client,
        httpx.Client(base_url=str(client.api_url), timeout=60) as http,
    ):
        while True:
            try:
                answer = http.post(f"work_pools/{pool}/get_scheduled_flow_runs", json={"limit": 8})
                found = answer.raise_for_status().json()
            except httpx.HTTPError as error:
                sys.stderr.write(f"the server does not answer: {error}\n")
                found = []
            for item in found:
                run_id = item["flow_run"]["id"]
                client.set_flow_run_state(run_id, Pending())
                try:
                    run_flow(gradient_shards, flow_run=client.read_flow_run(run_id))
                except Exception as error:  # noqa: BLE001 - the server has it; so does the parent
                    sys.stderr.write(f"{run_id}: {error!r}\n")
            if not found:
                time.sleep(IDLE_SECONDS)


def select(path: str) -> None:
    """Run the pipeline up to the gradients, as `bids run` does."""
    from bids_core.config import RunConfig
    from bids_select import select_data

    config = RunConfig.model_validate_json(Path(path).read_text())
    select_data(config, until="gradients")


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(sys.argv[2], float(sys.argv[3]))
    else:
        select(sys.argv[2])
