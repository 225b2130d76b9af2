"""Speed and memory of selection, as ratios against a baseline measured in the same run.

    python benchmarks/selection.py                  # everything, about 5 minutes
    python benchmarks/selection.py --part speed --json
    python benchmarks/selection.py --rows 50000     # smaller, for a quick look

Parts: `speed` (BIDS and every other method on influence, against `np.argpartition` over the
columns), `memory` (peak of a process that holds the matrix and selects), `literal` (against the
literal loop in numpy and torch, at a size where it finishes), `disk` (from Zarr, out of core, at a
series of sizes; the memory for fetched rows is scaled down with the size, so that there are as many
passes as at full size).

Times are medians of interleaved repeats. Shapes: N rows, M columns, B budget.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FULL_DISK_ROWS = 5_000_000
DISK_COLUMNS = 1000
CACHE_BYTES = 2 << 30  # for a selection from disk, scaled with the rows
BEST = 1024  # rows per column that the baseline separates from the rest
METHODS = (
    "bids_cautious", "instance_max", "less", "task_max", "sum", "round_robin",
    "round_robin_tasks", "quota", "knn_uniform", "optimal_transport", "random", "random_balanced",
)  # fmt: skip


def make_matrix(n_rows: int, n_columns: int, seed: int = 0) -> np.ndarray:
    """Return a matrix like influence: the 50 instances of a task share half of their variance."""
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((n_rows, n_columns), dtype=np.float32)
    tasks = np.arange(n_columns) // 50
    shared = rng.standard_normal((n_rows, int(tasks[-1]) + 1), dtype=np.float32)
    for start in range(0, n_rows, 10_000):
        matrix[start : start + 10_000] += shared[start : start + 10_000][:, tasks]
    matrix *= 0.05
    return matrix


def peak_bytes() -> int:
    """Return the highest resident size of this process (`ru_maxrss` would include the parent's)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def interleaved(actions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each action, all of them run once per repeat."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(repeats):
        for name, action in actions.items():
            times[name].append(timed(action))
    return {name: statistics.median(values) for name, values in times.items()}


def speed(arguments: argparse.Namespace) -> dict[str, Any]:
    from bids_core.selection import select

    matrix = make_matrix(arguments.rows, arguments.columns)
    by_column = np.ascontiguousarray(matrix.T)
    kth = max(0, arguments.rows - BEST)
    tasks = [f"task{j // 50}" for j in range(arguments.columns)]
    sources = [f"source{i % 7}" for i in range(arguments.rows)]

    def method(name: str) -> Callable[[], object]:
        return lambda: select(matrix, 0.15, method=name, tasks=tasks, sources=sources)

    found = interleaved(
        {
            "argpartition": lambda: [np.argpartition(column, kth) for column in by_column],
            "bids": method("bids"),
        },
        arguments.repeats,
    )
    others = interleaved({name: method(name) for name in METHODS}, 1)
    axis0 = timed(lambda: np.argpartition(matrix, kth, axis=0))
    return {
        "baseline": f"np.argpartition({BEST} best) of each column of a column-major copy",
        "argpartition_seconds": found["argpartition"],
        "argpartition_axis0_seconds": axis0,
        "bids_seconds": found["bids"],
        "bids_over_argpartition": found["bids"] / found["argpartition"],
        "target": 2.5,
        "methods_over_bids": {name: others[name] / found["bids"] for name in METHODS},
        "methods_target": 3.0,
    }


def memory(arguments: argparse.Namespace) -> dict[str, Any]:
    code = (
        "import sys, json, numpy as np; from bids_core.selection import select;"
        "sys.path.insert(0, sys.argv[1]); from selection import peak_bytes;"
        "m = np.load(sys.argv[2]);"
        "before = peak_bytes(); select(m, 0.15);"
        "print(json.dumps([m.nbytes, before, peak_bytes()]))"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npy"
        np.save(path, make_matrix(arguments.rows, arguments.columns))
        size, before, peak = _child(code, path)
    return {
        "matrix_bytes": size,
        "peak_bytes_before": before,
        "peak_bytes": peak,
        "peak_over_matrix": peak / size,
        "target": 3.0,
    }


def _child(code: str, *arguments: object) -> Any:
    command = [sys.executable, "-c", code, str(Path(__file__).parent), *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def literal(_arguments: argparse.Namespace) -> dict[str, Any]:
    import torch

    from bids_core.normalization import normalize
    from bids_core.selection import select

    n_rows, budget = 20_000, 400
    matrix = make_matrix(n_rows, 100)

    def with_numpy() -> list[int]:
        z = normalize(matrix)
        picked, total = [], np.zeros(z.shape[1])
        free = np.ones(n_rows, dtype=bool)
        for step in range(budget):
            best = (z - total / max(1, step)).max(axis=1)
            best[~free] = -np.inf
            picked.append(int(best.argmax()))
            free[picked[-1]] = False
            total += z[picked[-1]]
        return picked

    def with_torch() -> list[int]:
        z = torch.from_numpy(normalize(matrix))
        picked, total = [], torch.zeros(z.shape[1], dtype=z.dtype)
        taken = torch.zeros(n_rows, dtype=torch.bool)
        for step in range(budget):
            best = (z - total / max(1, step)).amax(dim=1)
            best[taken] = -torch.inf
            picked.append(int(best.argmax()))
            taken[picked[-1]] = True
            total += z[picked[-1]]
        return picked

    fast = select(matrix, budget).indices.tolist()
    found = interleaved(
        {"numpy": with_numpy, "torch": with_torch, "bids": lambda: select(matrix, budget)}, 1
    )
    return {
        "rows": n_rows, "columns": 100, "budget": budget,
        "same_picks": fast == with_numpy() == with_torch(),
        "numpy_over_bids": found["numpy"] / found["bids"],
        "torch_over_bids": found["torch"] / found["bids"],
    }  # fmt: skip


def disk_one(n_rows: int) -> dict[str, Any]:
    """Write a matrix to Zarr, select 15% of it out of core; runs in a separate process."""
    import zarr

    from bids_core.influence import as_matrix
    from bids_core.selection import select

    with tempfile.TemporaryDirectory() as folder:
        stored = zarr.create_array(
            Path(folder) / "a.zarr", shape=(n_rows, DISK_COLUMNS), dtype="float32",
            chunks=(2048, DISK_COLUMNS),
        )  # fmt: skip
        for start in range(0, n_rows, 2048):
            stored[start : start + 2048] = make_matrix(
                min(2048, n_rows - start), DISK_COLUMNS, seed=start
            )
        matrix = as_matrix(
            stored, resident_bytes=0, cache_bytes=int(CACHE_BYTES * n_rows / FULL_DISK_ROWS)
        )
        before = peak_bytes()
        seconds = timed(lambda: select(matrix, 0.15))
        peak = peak_bytes()
    return {"rows": n_rows, "seconds": seconds, "peak_bytes_before": before, "peak_bytes": peak}


def disk(arguments: argparse.Namespace) -> dict[str, Any]:
    code = (
        "import sys, json; sys.path.insert(0, sys.argv[1]); import selection as b;"
        "print(json.dumps(b.disk_one(int(sys.argv[2]))))"
    )
    curve = [_child(code, rows) for rows in arguments.disk_rows]
    rows = np.array([point["rows"] for point in curve], dtype=float)
    seconds = np.array([point["seconds"] for point in curve])
    peaks = np.array([point["peak_bytes"] for point in curve], dtype=float)
    scale = FULL_DISK_ROWS / rows[-1]
    slope = np.polyfit(np.log(rows), np.log(seconds), 1)[0] if len(rows) > 1 else None
    peak_line = np.polyfit(rows, peaks, 1) if len(rows) > 1 else (0.0, peaks[-1])
    return {
        "columns": DISK_COLUMNS,
        "curve": curve,
        "exponent_of_rows": None if slope is None else float(slope),
        "extrapolated_to_rows": FULL_DISK_ROWS,
        "extrapolated_seconds": float(seconds[-1] * scale),
        "extrapolated_peak_bytes": float(np.polyval(peak_line, FULL_DISK_ROWS)),
        "target_peak_bytes": 8 << 30,
        "note": "measured at the sizes of `curve`"
        + ("" if rows[-1] >= FULL_DISK_ROWS else "; the full size is an extrapolation"),
    }


PARTS = {"speed": speed, "memory": memory, "literal": literal, "disk": disk}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--part", choices=PARTS, action="append", help="default: all")
    parser.add_argument("--rows", type=int, default=288_000)
    parser.add_argument("--columns", type=int, default=350)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--disk-rows", type=int, nargs="+", default=[50_000, 100_000, 200_000])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    results = {
        "rows": arguments.rows,
        "columns": arguments.columns,
        "cpus": os.cpu_count(),
        "load_before": os.getloadavg()[0],
    }
    for part in arguments.part or PARTS:
        results[part] = PARTS[part](arguments)
        if not arguments.json:
            print(part, json.dumps(results[part], indent=2))
    results["load_after"] = os.getloadavg()[0]
    if arguments.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
