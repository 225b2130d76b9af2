"""A project that runs in seconds: three arithmetic tasks, for a tiny model; and its neighbours."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

OPERATORS = {"add": ("plus", lambda a, b: a + b), "max": ("or", max), "min": ("below", min)}


class Recorder:
    """A reporter that counts what was computed and what was cached, by stage."""

    def __init__(self) -> None:
        self.computed: Counter[str] = Counter()
        self.cached: Counter[str] = Counter()

    def step(self, label: str, unit: str) -> Any:
        """Begin a step."""
        return lambda done, total: None

    def end(self, label: str, *, seconds: float, cached: bool) -> None:
        """End a step."""
        (self.cached if cached else self.computed)[label.split()[0]] += 1


def rows(kind: str, start: int, stop: int) -> list[dict[str, str]]:
    """Return rows of a task."""
    word, function = OPERATORS[kind]
    pairs = ((n, (n * 7) % 23) for n in range(start, stop))
    return [{"prompt": f"{kind} {a} {word} {b}?", "completion": str(function(a, b))}
            for a, b in pairs]  # fmt: skip


def write_rows(path: Path, content: list[dict[str, str]]) -> None:
    """Write rows as JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")


def write_project(folder: Path, model: Path) -> dict[str, Any]:
    """Write data and bids.yaml (paths relative to the folder); returns the configuration."""
    for kind, count in (("add", 20), ("max", 8), ("min", 4)):
        write_rows(folder / "pool" / f"{kind}.jsonl", rows(kind, 0, count))
        write_rows(folder / "validation" / f"{kind}.jsonl", rows(kind, 50, 53))
        write_rows(folder / "test" / f"{kind}.jsonl", rows(kind, 60, 64))
    tasks = [
        {"task": kind, "capability": "math" if kind == "add" else "logic"} for kind in OPERATORS
    ]
    config = {
        "name": "tiny",
        "model": {"path": str(model), "dtype": "float32", "device": "cpu"},
        "pool": [{"path": "pool/*.jsonl"}],
        "validation": [t | {"path": f"validation/{t['task']}.jsonl"} for t in tasks],
        "test": [t | {"path": f"test/{t['task']}.jsonl", "max_new_tokens": 3} for t in tasks],
        "data": {"max_length": 64},
        "lora": {"r": 2, "alpha": 4, "dropout": 0.0},
        "warmup": {"epochs": 2, "batch_size": 8, "learning_rate": 0.01},
        "gradients": {"projection": "rademacher", "dim": 64, "rows_per_shard": 12},
        "selection": {"budget": 6},
        "finetune": {"epochs": 1, "batch_size": 4, "learning_rate": 0.01},
    }
    (folder / "bids.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return config


def own_folders(folder: Path, *, packages: bool = True) -> None:
    """Write `flows` and `tasks` as people who use Prefect have them beside their data."""
    for name in ("flows", "tasks", "deployments"):
        (folder / name).mkdir(parents=True)
        (folder / name / "etl.py").write_text("THEIRS = True\n", encoding="utf-8")
        if packages:
            (folder / name / "__init__.py").write_text("THEIRS = True\n", encoding="utf-8")
