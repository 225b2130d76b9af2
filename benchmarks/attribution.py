"""Streaming the attribution matrix from a Zarr gradient store, against numpy.memmap and a GEMM.

Writes a synthetic store of unit rows (float16) and the same rows as one flat file, then computes
the [N, M] matrix from each, in turn, in separate processes so that peak memory can be measured.
Baseline (ratio 1.00): numpy.memmap, blocks of the same number of rows, float32 GEMM, result into a
memmap. The paper's size is 288,000 x 350 x 8,192; the default has an eighth of the rows, and time
is linear in rows.

    python benchmarks/attribution.py --rows 36000 --json out.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bids_core.attribution import stream_influence
from bids_core.gradients import Features, open_store, write_shard

SHARD_ROWS = 2048
BLOCK_ROWS = 2048


def write_inputs(folder: Path, rows: int, columns: int, dim: int) -> None:
    """Write the store, shard by shard, and the flat file of the same float16 rows."""
    rng = np.random.default_rng(0)
    flat = np.memmap(folder / "flat", dtype=np.float16, mode="w+", shape=(rows, dim))
    for name, count in (("train", rows), ("validation", columns)):
        for start in range(0, count, SHARD_ROWS):
            size = min(SHARD_ROWS, count - start)
            values = torch.from_numpy(rng.standard_normal((size, dim), dtype=np.float32))
            ids = [f"{name}{start + i}" for i in range(size)]
            features = Features(values, values.norm(dim=1), torch.zeros(size), ids, [], None, 0, 0)
            write_shard(folder / f"{name}-{start:08d}", features)
            if name == "train":
                flat[start : start + size] = (values / values.norm(dim=1, keepdim=True)).numpy()
    flat.flush()


def zarr_stream(folder: Path, out: Path, rows: int, columns: int, dim: int) -> None:  # noqa: ARG001
    train = open_store(sorted(folder.glob("train-*")))
    validation = open_store(sorted(folder.glob("validation-*")))
    labels = ["x"] * columns
    stream_influence([train], [validation], [1.0], out / "a", tasks=labels, capabilities=labels)


def memmap_gemm(folder: Path, out: Path, rows: int, columns: int, dim: int) -> None:
    flat = np.memmap(folder / "flat", dtype=np.float16, mode="r", shape=(rows, dim))
    validation = open_store(sorted(folder.glob("validation-*"))).rows(0, columns)
    matrix = np.memmap(out / "b", dtype=np.float32, mode="w+", shape=(rows, columns))
    for start in range(0, rows, BLOCK_ROWS):
        matrix[start : start + BLOCK_ROWS] = (
            flat[start : start + BLOCK_ROWS].astype(np.float32) @ validation.T
        )
    matrix.flush()


def one_run(run: Callable[..., None], folder: Path, sizes: tuple[int, int, int],
            cpu: bool) -> tuple[float, float]:  # fmt: skip
    """Return (seconds, peak GiB) of one run in a fresh process."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(run, folder, sizes, cpu, send))
    process.start()
    result: tuple[float, float] = receive.recv()
    process.join()
    return result


def _child(run, folder, sizes, cpu, send) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    clock = time.process_time if cpu else time.perf_counter
    with tempfile.TemporaryDirectory(dir=folder) as out:
        started = clock()
        run(folder, Path(out), *sizes)
        seconds = clock() - started
    send.send((seconds, _peak_gib()))


def _peak_gib() -> float:
    """Return this program's peak memory; `ru_maxrss` would include the parent's before exec."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=36_000)
    parser.add_argument("--columns", type=int, default=350)
    parser.add_argument("--dim", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu-time", action="store_true", help="count processor seconds")
    parser.add_argument("--folder", type=Path, help="where the synthetic store goes")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    sizes = (args.rows, args.columns, args.dim)
    runs = {"numpy memmap + GEMM": memmap_gemm, "bids from zarr": zarr_stream}
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        write_inputs(Path(name), *sizes)
        taken: dict[str, list[tuple[float, float]]] = {key: [] for key in runs}
        for _ in range(args.rounds):
            for key, run in runs.items():
                taken[key].append(one_run(run, Path(name), sizes, args.cpu_time))
    show(taken, sizes, args.json)


def show(taken: dict[str, list[tuple[float, float]]], sizes: tuple[int, int, int],
         target: Path | None) -> None:  # fmt: skip
    print(f"{sizes[0]:,} x {sizes[1]:,} x {sizes[2]:,}")
    print(f"{'':24s}{'seconds':>9s}{'rows/s':>10s}{'ratio':>8s}{'peak GiB':>10s}")
    base = statistics.median(seconds for seconds, _ in next(iter(taken.values())))
    rows = []
    for key, results in taken.items():
        middle = statistics.median(seconds for seconds, _ in results)
        peak = max(gib for _, gib in results)
        rows.append({"contender": key, "seconds": [s for s, _ in results], "ratio": middle / base,
                     "peak_gib": peak, "sizes": sizes})  # fmt: skip
        print(f"{key:24s}{middle:9.2f}{sizes[0] / middle:10.0f}{middle / base:8.2f}{peak:10.2f}")
    if target:
        target.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
