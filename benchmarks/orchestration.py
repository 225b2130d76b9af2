"""What Prefect costs: seconds per task run and per shard flow run, on SQLite and on PostgreSQL.

    python benchmarks/orchestration.py [--tasks N] [--runs N] [--databases sqlite postgres] [--json]

Real servers and a real worker, started and stopped here (PostgreSQL from Debian's package; skipped
with a note if it is not installed). Figures:

task run     time of N empty tasks in sequence, divided by N, as seen by the flow
flow run     one empty flow run of a process worker, from its submission to its end
two at once  seconds per flow run when two overlap on the worker
temporary    what a run without a server waits for: start and stop of Prefect's temporary one
imports      what a shard's flow run needs in addition to an empty one

The share of a run follows: (shards x task run + groups x flow run) / run time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT), str(ROOT / "tests")]

TASKS_SCRIPT = """
import sys, time
from prefect import flow, task

@task
def nothing(number):
    return number

@flow
def many(count):
    started = time.perf_counter()
    for number in range(count):
        nothing(number)
    return (time.perf_counter() - started) / count

many(1)
print(many(int(sys.argv[1])))
"""
FLOW_MODULE = """
from prefect import flow

@flow
def empty():
    pass
"""
PIPELINE_IMPORTS = "import flows.gradient_shards"


def task_seconds(server: Any, count: int) -> float:
    """Return the client's seconds per task run."""
    done = subprocess.run(
        [sys.executable, "-c", TASKS_SCRIPT, str(count)],
        env=server.client_env, cwd=server.folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def flow_run_seconds(server: Any, runs: int, folder: Path) -> dict[str, float]:
    """Return the seconds of a single flow run, and per flow run when several overlap."""
    from stack import Worker

    (folder / "empty_flow.py").write_text(FLOW_MODULE)
    server.prefect("work-pool", "create", "bench", "--type", "process")
    entry = {
        "name": "bench",
        "deployments": [
            {"name": "bench", "entrypoint": "empty_flow.empty", "work_pool": {"name": "bench"}}
        ],
    }
    (folder / "prefect.yaml").write_text(json.dumps(entry))
    server.client_env["PYTHONPATH"] = f"{folder}:{ROOT}"
    server.prefect("deploy", "--all", "--prefect-file", str(folder / "prefect.yaml"), cwd=folder)
    single = []
    with Worker(server, "bench", limit=2, folder=folder / "worker"):
        for _ in range(runs):
            started = time.perf_counter()
            server.wait(server.run("empty/bench", {}))
            single.append(time.perf_counter() - started)
        started = time.perf_counter()
        ids = [server.run("empty/bench", {}) for _ in range(2 * runs)]
        for run in ids:
            server.wait(run)
        overlapping = (time.perf_counter() - started) / (2 * runs)
    return {"flow_run": statistics.median(single), "flow_run_two_at_once": overlapping}


def import_seconds() -> float:
    """Return what a shard flow run needs in addition: the imports of the pipeline."""
    seconds = []
    for statement in ("import prefect", f"import prefect; {PIPELINE_IMPORTS}"):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True, cwd=ROOT, capture_output=True)
        seconds.append(time.perf_counter() - started)
    return seconds[1] - seconds[0]


def temporary_server_seconds() -> float:
    """Return the seconds that a one-flow program takes without a server, without its imports."""
    program = "from prefect import flow\n@flow\ndef empty(): pass\n"
    seconds = []
    for call in ("", "empty()"):
        with tempfile.TemporaryDirectory() as home:
            environment = {
                name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")
            } | {
                "PREFECT_HOME": home, "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1",
            }  # fmt: skip
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", program + call],
                check=True, capture_output=True, env=environment,
            )  # fmt: skip
            seconds.append(time.perf_counter() - started)
    return seconds[1] - seconds[0]


def measure(database: str, *, tasks: int, runs: int) -> dict[str, float]:
    """Return the figures of one database."""
    from stack import Server

    with (
        tempfile.TemporaryDirectory() as place,
        Server(Path(place, "server"), database=database) as server,
    ):
        found = {"task_run": task_seconds(server, tasks)}
        folder = Path(place, "flow")
        folder.mkdir()
        return found | flow_run_seconds(server, runs, folder)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgres"])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    from stack import missing_programs

    results: dict[str, object] = {}
    for database in arguments.databases:
        if database == "postgres" and missing_programs("postgres", "initdb"):
            results[database] = "PostgreSQL is not installed"
            continue
        results[database] = measure(database, tasks=arguments.tasks, runs=arguments.runs)
    results["imports_of_a_shard_run"] = import_seconds()
    results["temporary_server"] = temporary_server_seconds()
    if arguments.json:
        print(json.dumps(results, indent=1))
        return
    for name, found in results.items():
        if isinstance(found, dict):
            print(
                f"{name:10} task run {1000 * found['task_run']:.1f} ms, empty flow run "
                f"{found['flow_run']:.1f} s, two at once {found['flow_run_two_at_once']:.1f} s each"
            )
        elif isinstance(found, float):
            print(f"{name.replace('_', ' ')}: {found:.1f} s")
        else:
            print(f"{name:10} {found}")
    print_advice(results)


def print_advice(results: dict[str, object]) -> None:
    """Print what follows for the size of shards and groups."""
    imports = results["imports_of_a_shard_run"]
    for name, found in results.items():
        if isinstance(found, dict) and isinstance(imports, float):
            start = found["flow_run"] + imports
            print(
                f"{name}: below 5% where a group of shards takes {20 * start:.0f} s or more, and a "
                f"shard {20 * found['task_run']:.1f} s or more"
            )


if __name__ == "__main__":
    main()
