"""One run's gradient shards on one worker and on two: wall time, on this machine.

    python benchmarks/fan_out.py [--json]

A real server, a real pipeline worker, and one or two workers of the gpu pool with one thread each.
The model is small and random, with shards of a few seconds each. The time runs from the first shard
handed out to the last one in the store, so it includes starting flow runs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ.setdefault("OMP_NUM_THREADS", "1")


def model_folder(folder: Path) -> Path:
    """Write a small random model and its tokenizer."""
    from conftest import build_llama, build_tokenizer

    tokenizer = build_tokenizer()
    build_llama(
        len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=4
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def run_seconds(cluster: Any, folder: Path, model: Path, *, workers: int) -> dict[str, float]:
    """Return the wall seconds of a run's gradients, and the seconds of work in its shards."""
    from contextlib import ExitStack

    from faults.cluster import shards, write_project

    config = write_project(folder, model, group_seconds=40, parallel=2 * workers)
    config["gradients"] |= {"dim": 16384, "rows_per_shard": 8}
    with ExitStack() as stack:
        for number in range(workers):
            stack.enter_context(cluster.worker(f"gpu-{workers}-{number}"))
        run = cluster.start(config, until="gradients")
        cluster.finish(run, timeout=900)
    children = cluster.children(run)
    starts = [datetime.fromisoformat(child["created"]) for child in children]
    ends = [datetime.fromisoformat(child["end_time"]) for child in children]
    found = shards(config)
    return {
        "wall": (max(ends) - min(starts)).total_seconds(),
        "work": sum(handle.summary()["compute_seconds"] for handle in found),
        "shards": len(found),
        "flow_runs": len(children),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    from faults.cluster import Cluster, fresh
    from stack import Server

    with tempfile.TemporaryDirectory() as place:
        model = model_folder(Path(place, "model"))
        with Server(fresh(Path(place, "server"))) as server:
            server.bids("deploy", "--json")
            with Cluster(fresh(Path(place, "cluster")), server) as cluster:
                found = {
                    workers: run_seconds(
                        cluster, fresh(Path(place, f"workers-{workers}")), model, workers=workers
                    )
                    for workers in (1, 2)
                }
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    for workers, one in found.items():
        print(
            f"{workers} worker(s): {one['wall']:.0f} s for {one['shards']} shards in "
            f"{one['flow_runs']} flow runs, {one['work']:.0f} s of work in them"
        )
    print(f"one worker's time over two workers': {found[1]['wall'] / found[2]['wall']:.2f}")


if __name__ == "__main__":
    main()
