"""Hundreds of runs in one queue: none lost, none run twice; what do server and worker need?

    python benchmarks/queue_of_runs.py [--runs 200] [--limit 2] [--json out.json]

A real server on SQLite, `bids deploy`, the pool `cpu` with a concurrency limit, one process worker.
All runs of `select-matrix/selection` are requested at once, each with its own output; the matrix is
small, so that a run costs little more than its start and imports. Counted at the end: runs by
state, how often each started, how many ran at the same time, picks on disk. The memory (unique set)
of the server, and of the worker without its runs, is sampled every five seconds; reported are the
first figure after a run has ended, the last and the highest.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT), str(ROOT / "tests")]
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def all_runs(server: Any) -> list[dict[str, Any]]:
    """Return all flow runs of the server, which returns 200 at a time."""
    found: list[dict[str, Any]] = []
    while True:
        page = server.post("/flow_runs/filter", sort="ID_DESC", limit=200, offset=len(found))
        found += page
        if len(page) < 200:
            return found


def mib(process: Any) -> float:
    """Return a process's unique memory, in MiB."""
    return float(psutil.Process(process.process.pid).memory_full_info().uss / 2**20)


def database(folder: Path) -> float:
    """Return the size of the server's database, in MiB."""
    return round(sum(file.stat().st_size for file in folder.glob("prefect.db*")) / 2**20, 1)


def running(server: Any, runs: list[dict[str, Any]]) -> list[list[tuple[float, float]]]:
    """Return when each run was Running, according to the server's states."""
    spans = []
    for run in runs:
        states = server.get(f"/flow_run_states/?flow_run_id={run['id']}")
        states.sort(key=lambda state: state["timestamp"])
        times = [datetime.fromisoformat(s["timestamp"]).timestamp() for s in states]
        ends = [*times[1:], time.time()]
        spans.append(
            [(times[i], ends[i]) for i, state in enumerate(states) if state["type"] == "RUNNING"]
        )
    return spans


def most_at_once(spans: list[list[tuple[float, float]]]) -> int:
    """Return the largest number of runs at the same moment."""
    changes = [c for run in spans for start, end in run for c in ((start, 1), (end, -1))]
    count = most = 0
    for _, change in sorted(changes):  # of equal times, an end comes first
        count += change
        most = max(most, count)
    return most


def measure(folder: Path, *, runs: int, limit: int, patience: float) -> dict[str, Any]:
    """Work through the queue; return the figures."""
    from stack import Server, Worker

    np.save(folder / "matrix.npy", np.random.default_rng(0).normal(size=(200, 8)))
    picks = folder / "picks"
    picks.mkdir()
    memory: dict[str, list[float]] = {"server": [], "worker": []}
    with Server(folder) as server:
        server.bids("deploy")
        server.prefect("work-pool", "set-concurrency-limit", "cpu", str(limit))
        for number in range(runs):
            request = {"matrix": "../matrix.npy", "out": f"../picks/{number}.txt", "budget": 20}
            server.run("select-matrix/selection", {"request": request})
        before = database(folder)
        started = time.monotonic()
        with Worker(server, "cpu", limit=None, folder=folder / "worker") as worker:
            while time.monotonic() - started < patience:
                states = Counter(run["state_name"] for run in all_runs(server))
                done = sum(n for name, n in states.items() if name.upper() in ENDED)
                if done:
                    memory["server"].append(mib(server))
                    memory["worker"].append(mib(worker))
                print(f"{time.monotonic() - started:6.0f} s  {dict(states)}", flush=True)
                if done == runs:
                    break
                time.sleep(5)
            seconds = time.monotonic() - started
        found = all_runs(server)
        spans = running(server, found)
        return {
            "runs": runs,
            "limit": limit,
            "seconds": round(seconds),
            "states": dict(Counter(run["state_name"] for run in found)),
            "begun": dict(Counter(len(run) for run in spans)),
            "at once": most_at_once(spans),
            "files of picks": len(list(picks.iterdir())),
            "database MiB": database(folder),
            "database before MiB": before,
            "memory MiB": {
                name: {"first": round(v[0]), "last": round(v[-1]), "most": round(max(v))}
                for name, v in memory.items()
                if v
            },
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--limit", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=180, help="longest time")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(
            Path(folder), runs=options.runs, limit=options.limit, patience=60 * options.minutes
        )
    print(json.dumps(figures, indent=1))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
