"""A real server, a pipeline worker, GPU-pool workers, and a run that is long enough to be hit.

The model is small and random. Its shards take some seconds each by honest means: the slow
Rademacher projection to many dimensions.
"""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import yaml
from stack import Server, Worker, free_port

from bids_core.artifacts import ArtifactStore
from bids_core.config import RunConfig
from bids_core.gradients import open_store
from tasks.attribution import CheckpointGradients, run_attribution
from tasks.gradients import plan_shards, run_gradient_shard
from tasks.prepare import load_prepared, prepare_data
from tasks.selection import read_selection, run_selection
from tasks.warmup import run_warmup

CHECKPOINTS, POOL, ROWS_PER_SHARD = 2, 64, 16
TASKS = {"sums": "math", "words": "language"}


class Cluster:
    """The server with the deployments, one worker of the cpu pool; GPU workers come and go."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder, self.server = folder, server
        self.pipeline = Worker(server, "cpu", limit=4, folder=folder / "pipeline")

    def __enter__(self):
        self.pipeline.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.pipeline.stop()

    def tidy(self) -> None:
        """Bring the server back if need be, and end the runs that a failed test left."""
        if not self.server.healthy():
            self.server.kill()
            self.server.start()
        for process in flow_processes(self.pipeline):
            process.kill()
        states = ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING", "PAUSED"]
        left = {"state": {"type": {"any_": states}}}
        for run in self.server.post("/flow_runs/filter", flow_runs=left):
            path = f"/flow_runs/{run['id']}/set_state"
            self.server.post(path, state={"type": "CANCELLED"}, force=True)

    def worker(self, name: str, **options) -> Worker:
        """Return a worker of the gpu pool, to be used as a context."""
        return Worker(self.server, "gpu", name=name, folder=self.folder / name, **options)

    def start(self, config: dict, *, until: str = "selection") -> str:
        """Start a run of the pipeline; returns its id."""
        return self.server.run("select-data/pipeline", {"config": config, "until": until})

    def children(self, run: str) -> list[dict]:
        """Return the flow runs that a run has handed out."""
        return self.server.post(
            "/flow_runs/filter", flow_runs={"parent_flow_run_id": {"any_": [run]}}
        )

    def finish(self, run: str, timeout: float = 400.0) -> dict:
        """Wait for the end of a run and require that it is a good one."""
        ended = self.server.wait(run, timeout=timeout)
        logs = "\n".join(self.server.logs(run)[-30:])
        assert ended["state_type"] == "COMPLETED", f"{ended['state']['message']}\n{logs}"
        return ended


def write_project(folder: Path, model: Path, **execution) -> dict:
    """Write data and bids.yaml with absolute paths; returns the configuration."""
    for split, count, start in (("pool", POOL // 2, 0), ("validation", 3, 500)):
        for task in TASKS:
            path = folder / split / f"{task}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = [_row(task, start + i) for i in range(count)]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "name": folder.name,
        "output_dir": str(folder / "runs"),
        "store": str(folder / "store"),
        "model": {"path": str(model), "dtype": "float32", "device": "cpu"},
        "pool": [{"path": f"{folder}/pool/*.jsonl"}],
        "validation": [
            {"task": task, "capability": capability, "path": f"{folder}/validation/{task}.jsonl"}
            for task, capability in TASKS.items()
        ],
        "data": {"max_length": 128},
        "lora": {"r": 16, "alpha": 32, "dropout": 0.0},
        "warmup": {"epochs": CHECKPOINTS, "batch_size": 16, "learning_rate": 0.01},
        "gradients": {
            "projection": "rademacher", "dim": 2048, "rows_per_shard": ROWS_PER_SHARD,
            "tokens_per_batch": 256,
        },
        "selection": {"budget": 12, "compare": ["random"]},
        "execution": {
            "gradients": "deployment", "poll_seconds": 1, "lost_after": 20, "group_seconds": 15,
        } | execution,
    }  # fmt: skip
    (folder / "bids.yaml").write_text(yaml.safe_dump(config))
    return config


def _row(task: str, number: int) -> dict[str, str]:
    if task == "sums":
        return {"prompt": f"{number} plus {number * 7 % 23}?",
                "completion": str(number + number * 7 % 23)}  # fmt: skip
    letters = "".join(chr(97 + (number * k) % 26) for k in range(1, 9))
    return {"prompt": f"spell {letters} backwards", "completion": letters[::-1]}


def shards(config: dict) -> list:
    """Return the gradient shards that the store holds."""
    store = ArtifactStore(config["store"])
    return [h for h in store.ls() if h.stage == "gradients" and store.holds(h)]


def wait_for_shards(config: dict, count: int, timeout: float = 240.0) -> None:
    """Wait until the store holds some shards, and another is being computed."""
    end = time.monotonic() + timeout
    locks = Path(config["store"], ".locks")
    while len(shards(config)) < count or not list(locks.glob("gradients-*/*")):
        assert time.monotonic() < end, f"only {len(shards(config))} shards"
        time.sleep(0.05)


def flow_processes(*workers: Worker) -> list[psutil.Process]:
    """Return the processes of flow runs at work (not those that look for hooks afterwards)."""
    found = []
    for worker in workers:
        for process in worker.children():
            try:
                if "prefect.engine" in process.cmdline():  # a zombie has none
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
    return found


def in_hand(config: dict) -> list[str]:
    """Return the fingerprints of the shards that are being computed now."""
    locks = Path(config["store"], ".locks").glob("gradients-*/*")
    return [lock.parent.name.removeprefix("gradients-") for lock in locks]


def seconds_until_published(config: dict, fingerprints: list[str], since: float) -> float:
    """Wait for shards to be in the store; returns the seconds since a moment."""
    store = ArtifactStore(config["store"])
    end = time.monotonic() + 300
    while not all(store.holds(store.handle("gradients", name)) for name in fingerprints):
        assert time.monotonic() < end, "the interrupted shard was not computed again"
        time.sleep(0.1)
    return time.monotonic() - since


def check_rows(config: dict) -> None:
    """Require that every pool and validation row has one feature at every checkpoint."""
    found = shards(config)
    for checkpoint in range(1, CHECKPOINTS + 1):
        for split, count in (("train", POOL), ("validation", 3 * len(TASKS))):
            parts = [
                h for h in found
                if (h.summary()["checkpoint"], h.summary()["split"]) == (checkpoint, split)
            ]  # fmt: skip
            parts.sort(key=lambda h: h.summary()["start"])
            rows = open_store([h.path() / "features.zarr" for h in parts]).row_ids
            assert len(rows) == len(set(rows)) == count, f"{split} {checkpoint}: {len(rows)} rows"


def selection(config: dict) -> pd.DataFrame:
    """Return the final picks with utilities and winners."""
    return pd.read_parquet(Path(config["output_dir"], config["name"], "ranking.parquet"))


def same_selection(config: dict, undisturbed: pd.DataFrame) -> bool:
    """Tell whether the final picks are those of the undisturbed run, in order and to the bit."""
    found = selection(config)
    numbers = np.array_equal(found["utility"], undisturbed["utility"])
    return numbers and found["row_id"].tolist() == undisturbed["row_id"].tolist()


def select_in_peace(config: RunConfig) -> pd.DataFrame:
    """Return the picks of a run whose stages are called one after the other, without Prefect."""
    data = prepare_data.fn(config).data
    warm = run_warmup.fn(config, data).data
    prepared = load_prepared(data)
    gradients = tuple(
        CheckpointGradients(
            **{
                split: tuple(
                    run_gradient_shard.fn(config, data, warm, shard).data
                    for shard in plan_shards(
                        getattr(prepared, split).frame,
                        split=split, checkpoint=checkpoint, rows=config.gradients.rows_per_shard,
                    )
                )
                for split in ("train", "validation")
            }
        )
        for checkpoint in range(1, CHECKPOINTS + 1)
    )  # fmt: skip
    matrix = run_attribution.fn(config, data, warm, gradients).data
    return read_selection(run_selection.fn(config, data, matrix, "bids", {}).data)


def fresh(folder: Path) -> Path:
    """Return an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


class Proxy:
    """A TCP proxy between a worker and the server, that can be cut and mended."""

    def __init__(self, target: int) -> None:
        self.port, self._target = free_port(), target
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.mend()

    def mend(self) -> None:
        """Let connections through."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Break all connections and refuse new ones."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for end in list(self._open):
            end.close()
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            self._open.discard(end)
            end.close()
