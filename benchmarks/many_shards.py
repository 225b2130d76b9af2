"""A run with very many gradient shards on a real Prefect server: what grows, and how fast?

The shards only sleep and write (tests/sleeping_shards.py); everything else is real: the waiting
run, its groups of shards, a flow run per group, a task run per shard, locks, store, server and
database. Halfway through, the waiting run is killed (kill -9) and started again.

    python benchmarks/many_shards.py --shards 100 1000 10000 --database postgres --json out.json

Groups have 8 shards (`--group`), as in a run with shards of 40 s; 128 flow runs are in flight, as
with 64 GPUs. A single process works through them one by one: the figures are processor seconds per
shard, not how long 64 GPUs would take. The startup cost of a flow run (Python and its imports,
linear by nature) is measured in benchmarks/orchestration.py.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]
os.environ.setdefault("OMP_NUM_THREADS", "1")

TABLES = (
    "flow_run", "flow_run_state", "task_run", "task_run_state", "events", "event_resources", "log",
    "artifact",
)  # fmt: skip
NOTE_SECONDS = 30.0
PATIENCE = {
    "PREFECT_SERVER_DATABASE_TIMEOUT": "120",
    "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
}
"""For the server with its database, on a machine shared with other work: else it answers 500."""
SETTLED_SECONDS = 20.0
"""Seconds without a new task run in the database after which none is expected."""
LINEAR = 1.15
"""Growth with more than this power of the shards is reported as faster than linear."""


@dataclass
class Watched:
    """A process, sampled now and then; with its children if they do its work.

    (Otherwise a child is a fork about to start another program, and would count twice.)
    """

    name: str
    pid: int
    family: bool = True
    seconds: dict[int, float] = field(default_factory=dict)
    memory: int = 0
    peak: int = 0

    def look(self) -> None:
        """Sum processor time and memory of all that are alive."""
        memory = 0
        try:
            itself = psutil.Process(self.pid)
            children = itself.children(recursive=True) if self.family else []
            for process in (itself, *children):
                times = process.cpu_times()
                self.seconds[process.pid] = times.user + times.system
                memory += process.memory_info().rss
        except psutil.NoSuchProcess:
            return
        self.memory, self.peak = memory, max(self.peak, memory)

    @property
    def cpu(self) -> float:
        return sum(self.seconds.values())


def database_facts(server: Any) -> dict[str, Any]:
    """Return the rows of each table and the bytes of the whole database."""
    if server.postgres is None:
        path = server.folder / "prefect.db"
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as found:
            rows = {
                table: found.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
                for table in TABLES
            }
        return {
            "rows": rows,
            "bytes": sum(p.stat().st_size for p in path.parent.glob("prefect.db*")),
        }
    rows = {table: int(_sql(server, f"SELECT count(*) FROM {table}")) for table in TABLES}  # noqa: S608
    return {"rows": rows, "bytes": int(_sql(server, "SELECT pg_database_size('postgres')"))}


def _sql(server: Any, query: str) -> str:
    import asyncio

    import asyncpg

    async def ask() -> Any:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=server.postgres.port, user="postgres", database="postgres"
        )
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return str(asyncio.run(ask()))


def settled(server: Any) -> tuple[int, float]:
    """Wait until the events of the last task runs are in the database.

    Returns:
        How many task runs were missing when the run ended, and the seconds until they appeared.
    """
    started = last = time.perf_counter()
    first = seen = database_facts(server)["rows"]["task_run"]
    while time.perf_counter() - last < SETTLED_SECONDS:
        time.sleep(1.0)
        now = database_facts(server)["rows"]["task_run"]
        if now != seen:
            seen, last = now, time.perf_counter()
    return seen - first, last - started


def published(store: Path) -> dict[str, int]:
    """Return when each shard in the store was published, by its fingerprint."""
    places = (store / "gradients").glob("[!.]*/record.json")
    return {place.parent.name: place.stat().st_mtime_ns for place in places}


class Trial:
    """One run with a given number of shards, from an empty store and database."""

    def __init__(self, folder: Path, model: Path, args: argparse.Namespace, shards: int) -> None:
        import sleeping_shards

        self._folder, self._args, self._shards = folder, args, shards
        self._config = sleeping_shards.write_project(
            folder, model, shards=shards,
            group_seconds=args.group * args.seconds, parallel=args.in_flight,
        )  # fmt: skip
        self._store = Path(self._config["store"])
        self._history: list[dict[str, Any]] = []
        self._noted = -math.inf
        (folder / "config.json").write_text(json.dumps(self._config))

    def run(self) -> dict[str, Any]:
        """Prepare, run with a kill halfway, and return the measurements."""
        import sleeping_shards
        from stack import Server

        from bids_core.config import RunConfig  # noqa: F401 - a mistake in it shows here

        started = time.perf_counter()
        sleeping_shards.leave_warmup(self._config)
        prepared = time.perf_counter() - started
        server = Server(self._folder / "server", database=self._args.database, settings=PATIENCE)
        with server:
            server.bids("deploy", "--json")
            worker = self._python(server, "work", "gpu", str(self._args.seconds))
            self._watched = [
                Watched("server", server.process.pid), Watched("worker", worker.pid, family=False),
            ]  # fmt: skip
            if server.postgres is not None:
                self._watched.append(Watched("postgres", server.postgres.process.pid))
            before = database_facts(server)
            try:
                found = self._killed_in_the_middle(server)
                found["behind"], found["settle_seconds"] = settled(server)
            finally:
                worker.kill()
                worker.wait()
            after = database_facts(server)
        rows = {name: after["rows"][name] - before["rows"][name] for name in TABLES}
        return found | {
            "shards": self._shards,
            "database": self._args.database,
            "prepare_seconds": prepared,
            "history": self._history,
            "rows": rows,
            "database_bytes": after["bytes"] - before["bytes"],
            "cpu": {w.name: w.cpu for w in self._watched},
            "peak_bytes": {w.name: w.peak for w in self._watched},
        }

    def _killed_in_the_middle(self, server: Any) -> dict[str, Any]:
        first, found = self._parent(server, "first"), {}
        found["plan_seconds"] = self._until(1, first)
        self._until(self._shards // 2, first)
        first.kill()
        first.wait()
        before = published(self._store)
        second = self._parent(server, "second")
        found["replan_seconds"] = self._until(
            len(before) + self._args.in_flight, second, first_is=before
        )
        started = time.perf_counter()
        code = self._wait(second)
        if code:
            raise SystemExit((self._folder / "select.log").read_text()[-3000:])
        after = published(self._store)
        found["computed_twice"] = sum(after[name] != when for name, when in before.items())
        found["in_store"] = len(after)
        found["second_half_seconds"] = time.perf_counter() - started + found["replan_seconds"]
        return found

    def _parent(self, server: Any, name: str) -> subprocess.Popen[bytes]:
        process = self._python(server, "select", str(self._folder / "config.json"))
        self._watched.append(Watched(f"run, {name} start", process.pid, family=False))
        return process

    def _python(self, server: Any, *arguments: str) -> subprocess.Popen[bytes]:
        environment = server.client_env | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
        with (self._folder / f"{arguments[0]}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "sleeping_shards", *arguments],
                env=environment, cwd=self._folder, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def _until(self, count: int, process: Any, *, first_is: Any = ()) -> float:
        """Wait for this many shards in the store; return the seconds."""
        count = min(count, self._shards)
        started = time.perf_counter()
        folder = self._store / "gradients"
        while process.poll() is None:
            self._look()
            if folder.is_dir() and len(os.listdir(folder)) >= max(count, len(first_is)):
                break
            time.sleep(0.2 if count < 2 else 1.0)
        return time.perf_counter() - started

    def _wait(self, process: Any) -> int:
        while process.poll() is None:
            self._look()
            time.sleep(1.0)
        return int(process.returncode)

    def _look(self) -> None:
        for watched in self._watched:
            watched.look()
        now = time.perf_counter()
        if now - self._noted < NOTE_SECONDS:
            return
        self._noted = now
        self._history.append(
            {
                "seconds": now,
                "shards": len(published(self._store)),
                "cpu": {w.name: w.cpu for w in self._watched},
                "bytes": {w.name: w.memory for w in self._watched},
            }
        )
        (self._folder / "history.json").write_text(json.dumps(self._history))


def growth(results: list[dict[str, Any]]) -> dict[str, float]:
    """Return the power of the shards with which each figure grows, between the two largest runs."""
    if len(results) < 2:
        return {}
    small, large = results[-2:]
    ratio = math.log(large["shards"] / small["shards"])
    powers = {}
    for name, value in flat(large).items():
        base = flat(small).get(name, 0)
        if value > 0 and base > 0:
            powers[name] = math.log(value / base) / ratio
    return powers


def marginal(history: list[dict[str, Any]]) -> dict[str, float]:
    """Return the processor seconds of one more shard, by process, without startup."""
    working = [note for note in history if note["shards"]]
    if len(working) < 2 or working[-1]["shards"] == working[0]["shards"]:
        return {}
    first, last = working[0], working[-1]
    shards = last["shards"] - first["shards"]
    return {
        name: (last["cpu"][name] - first["cpu"][name]) / shards
        for name in last["cpu"]
        if name in first["cpu"]
    }


def flat(result: dict[str, Any]) -> dict[str, float]:
    """Return the figures that may grow, by name."""
    found = {"seconds to plan": result["plan_seconds"]}
    found |= {f"processor seconds, {name}": value for name, value in result["cpu"].items()}
    found |= {f"peak memory, {name}": value for name, value in result["peak_bytes"].items()}
    found |= {f"rows, {name}": value for name, value in result["rows"].items()}
    return found | {"bytes, database": result["database_bytes"]}


def show(results: list[dict[str, Any]]) -> None:
    """Print a table of all runs."""
    powers = growth(results)
    print(f"{'':40s}" + "".join(f"{r['shards']:>14,}" for r in results) + f"{'power':>8s}")
    for name in flat(results[-1]):
        cells = "".join(f"{_words(name, flat(r).get(name, 0)):>14s}" for r in results)
        power = powers.get(name)
        mark = "" if power is None else f"{power:8.2f}" + (" !" if power > LINEAR else "")
        print(f"{name:40s}{cells}{mark}")
    for result in results:
        each = marginal(result["history"])
        shares = ", ".join(f"{name} {1000 * value:.0f}" for name, value in each.items())
        print(
            f"{result['shards']:,} shards on {result['database']}, milliseconds of processor that "
            f"one more takes: {shares or 'too few to tell'}\n  after the kill "
            f"{result['replan_seconds']:.0f} s until new shards, {result['computed_twice']} "
            f"computed twice, {result['in_store']} in the store; {result['behind']} task runs "
            "came into the database after the run's end, the last "
            f"{result['settle_seconds']:.0f} s after it"
        )


def _words(name: str, value: float) -> str:
    if name.startswith(("peak", "bytes")):
        return f"{value / 2**20:,.0f} MiB"
    return f"{value:,.0f}" if name.startswith("rows") else f"{value:,.1f} s"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shards", type=int, nargs="+", default=[100, 400])
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="postgres")
    parser.add_argument("--seconds", type=float, default=0.02, help="that a shard sleeps")
    parser.add_argument("--group", type=int, default=8, help="shards of a flow run, about")
    parser.add_argument("--in-flight", type=int, default=128)
    parser.add_argument("--folder", type=Path, help="where everything goes, and stays")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    from fan_out import model_folder
    from stack import missing_programs

    if args.database == "postgres" and missing_programs("postgres", "initdb"):
        raise SystemExit("PostgreSQL is not installed; use --database sqlite")
    results = []
    with tempfile.TemporaryDirectory() as place:
        root = args.folder or Path(place)
        model = model_folder(root / "model")
        for shards in args.shards:
            folder = root / f"{args.database}-{shards}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            results.append(Trial(folder, model, args, shards).run())
            if args.json:
                args.json.write_text(json.dumps(results, indent=1))
    show(results)


if __name__ == "__main__":
    main()
