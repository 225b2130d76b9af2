"""The part of `price.py` that runs the real pipeline on SmolLM2-135M-Instruct."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import yaml

from bids_core.comparison import paired_interval

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

ROOT = Path(__file__).parents[1]
BUDGET: Final = 0.1
SEEDS: Final = (0, 1, 2)
SIZES: Final = {"chain_sum": 210, "spell_backward": 120, "family_relationships": 75, "gcd": 52,
                "sentence_reordering": 30}  # fmt: skip
N_OFF_TARGET, N_VALIDATION, N_TEST = 52, 8, 60
FIRST: Final = "warmup.stop_after=1"
BM25: Final = ("screen.by=bm25", "screen.sample=50")
SETTINGS: Final[dict[str, tuple[str, ...]]] = {
    "exact": (),
    "checkpoint 1": (FIRST,),
    "checkpoint 1, last half of the layers": (FIRST, "gradients.layers=15"),
    "checkpoint 1, screen bm25 40%": (FIRST, *BM25, "screen.keep=0.4"),
    "checkpoint 1, screen rds_plus 30%": (
        FIRST, "screen.by=rds_plus", "screen.keep=0.3", "screen.sample=50",
    ),
    "checkpoint 1, screen bm25 20%": (FIRST, *BM25, "screen.keep=0.2"),
    "checkpoint 1, landmarks 20%": (FIRST, "landmarks.rows=200"),
}  # fmt: skip
TRAINED: Final = ("exact", "checkpoint 1", "checkpoint 1, screen bm25 40%",
                  "checkpoint 1, screen bm25 20%")  # fmt: skip
"""Settings whose picks are used for fine-tuning, beside `random` and `rds` (LESS by hidden
states)."""
BEFORE_SELECTION: Final = ("warmup", "screen", "representations", "gradients", "attribution",
                           "inference")  # fmt: skip


def write_data(folder: Path) -> None:
    """Write pool, validation and test rows like the demo's, but more of them and none wrong."""
    demo = _demo()
    for task in demo.TARGETS:
        counts = (SIZES[task.name], N_VALIDATION, N_TEST)
        left = demo.questions(task.name, sum(counts), task.options)
        for part, count, kind in zip(("pool", "validation", "test"), counts, ("target", "", ""),
                                     strict=True):  # fmt: skip
            _write(folder / part / f"{task.name}.jsonl", demo, left[:count], kind)
            left = left[count:]
    for name in demo.OFF_TARGET:
        pairs = demo.questions(name, N_OFF_TARGET, {})
        _write(folder / "pool" / f"{name}.jsonl", demo, pairs, "off_target")


def _demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", ROOT / "examples/demo/make_data.py")
    assert spec is not None  # noqa: S101 - for the type checker
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo"] = module  # dataclasses look up their module
    spec.loader.exec_module(module)
    return module


def _write(path: Path, demo: ModuleType, pairs: list[tuple[str, str]], kind: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    more = {"kind": kind} if kind else {}
    rows = [demo.row(question, answer, **more) for question, answer in pairs]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_config(folder: Path) -> Path:
    """Write the exact pipeline's configuration."""
    demo = yaml.safe_load((ROOT / "examples/demo/config.yaml").read_text())
    content = demo | {
        "name": "price",
        "test": [
            {key: task[key] for key in ("task", "capability", "path")} | {"metric": "answer_loss"}
            for task in demo["test"]
        ],
        "warmup": {"epochs": 4, "fraction": 0.25, "learning_rate": 5.0e-4, "batch_size": 8},
        "selection": {"budget": BUDGET, "method": "bids", "compare": []},
        "evaluation": {"zero_shot": False},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def measure(work: Path) -> list[dict[str, Any]]:
    """Run every setting and return a line for each; results already in the stores are reused."""
    work = work.resolve()
    if not (work / "config.yaml").exists():
        write_data(work / "data")
        write_config(work)
    costs = json.loads((work / "costs.json").read_text()) if (work / "costs.json").exists() else {}
    picks: dict[str, set[str]] = {}
    losses: dict[str, pd.DataFrame] = {}
    for name, overrides in SETTINGS.items():
        print(f"{name} ...", flush=True)
        folder = work / name.replace(" ", "_").replace(",", "").replace("%", "")
        places = (f"store={folder / 'store'}", f"output_dir={folder}")
        _bids(work, "run", "--until", "selection", settings=(*overrides, *places))
        if name not in costs:
            costs[name] = sum(_processor_seconds(folder / "store" / s) for s in BEFORE_SELECTION)
            (work / "costs.json").write_text(json.dumps(costs, indent=1))
        picks[name] = set(pd.read_parquet(folder / "price" / "ranking.parquet")["row_id"])
        if name not in TRAINED:
            continue
        methods = "bids,random,rds" if name == "exact" else "bids"
        _bids(work, "compare", "--methods", methods, "--budgets", str(BUDGET), "--seeds",
              ",".join(map(str, SEEDS)), settings=(*overrides, *places))  # fmt: skip
        samples = pd.read_parquet(folder / "price" / "comparison_samples.parquet")
        for method, frame in samples.groupby("method"):
            losses[name if method == "bids" else str(method)] = frame
    return [_line(name, costs, picks, losses) for name in (*SETTINGS, "random", "rds")]


def _bids(work: Path, *arguments: str, settings: Sequence[str]) -> None:
    command, *options = arguments
    sets = [part for setting in settings for part in ("--set", setting)]
    subprocess.run(
        [sys.executable, "-m", "bids_select", command, "config.yaml", *options, *sets],
        cwd=work, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def _processor_seconds(stage: Path) -> float:
    """Return the processor seconds of a stage's artifacts."""
    records = [json.loads(path.read_text()) for path in stage.glob("*/record.json")]
    return sum(float(record["summary"]["processor_seconds"]) for record in records)


def _line(
    name: str,
    costs: dict[str, Any],
    picks: dict[str, set[str]],
    losses: dict[str, pd.DataFrame],
) -> dict[str, Any]:
    exact, own = picks["exact"], picks.get(name)
    line: dict[str, Any] = {
        "model": "smollm2",
        "setting": {"rds": "less by rds"}.get(name, name),
        "cost_share": costs.get(name, float("nan")) / costs["exact"],
        "overlap": None if own is None else len(exact & own) / len(exact),
        "loss": None, "loss_gap": None, "loss_gap_low": None, "loss_gap_high": None,
        "n_seeds": 0,
    }  # fmt: skip
    if name not in losses:
        return line
    differences = {
        task: (_by_seed(losses[name], task) - _by_seed(losses["exact"], task)).to_numpy()
        for task in losses[name]["task"].unique()
    }
    found = paired_interval(differences)
    means = losses[name].groupby("task")["answer_loss"].mean()
    return line | {
        "loss": float(means.mean()),
        "loss_gap": found.value,
        "loss_gap_low": found.low,
        "loss_gap_high": found.high,
        "n_seeds": found.n_seeds,
    }


def _by_seed(samples: pd.DataFrame, task: str) -> pd.DataFrame:
    """Return the losses of a task, with seeds as rows and test rows as columns."""
    chosen = samples[samples["task"] == task]
    return chosen.pivot_table(index="seed", columns="row_id", values="answer_loss")
