"""A whole run on a tiny model, and one Prefect server for all flow tests."""

from __future__ import annotations

import json
import os
import sys

import pytest
import yaml

os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["DO_NOT_TRACK"] = "1"

OPERATORS = {"add": ("plus", lambda a, b: a + b), "max": ("or", max), "min": ("below", min)}


def _rows(kind, start, stop):
    word, function = OPERATORS[kind]
    pairs = ((n, (n * 7) % 23) for n in range(start, stop))
    return [{"prompt": f"{kind} {a} {word} {b}?", "completion": str(function(a, b))}
            for a, b in pairs]  # fmt: skip


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def project(tmp_path, tiny_model_folder, monkeypatch):
    """A folder with data and bids.yaml; the current folder of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIDS_CACHE", str(tmp_path / "cache"))
    for kind, count in (("add", 20), ("max", 8), ("min", 4)):
        write_rows(tmp_path / "pool" / f"{kind}.jsonl", _rows(kind, 0, count))
        write_rows(tmp_path / "validation" / f"{kind}.jsonl", _rows(kind, 50, 53))
        write_rows(tmp_path / "test" / f"{kind}.jsonl", _rows(kind, 60, 64))
    tasks = [
        {"task": kind, "capability": "math" if kind == "add" else "logic"} for kind in OPERATORS
    ]
    config = {
        "name": "tiny",
        "model": {"path": str(tiny_model_folder), "dtype": "float32", "device": "cpu"},
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
    (tmp_path / "bids.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="session")
def prefect_server():
    """Start one temporary Prefect server for the session."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def bids(monkeypatch, capsys):
    """Run the command line in this process; returns (exit status, stdout, stderr)."""

    from flows import cli

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bids", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return run
