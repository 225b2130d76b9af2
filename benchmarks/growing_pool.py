"""The cost of a nightly run when a pool changes a little: with a kept warmup, and without.

    python benchmarks/growing_pool.py [--rows N] [--hidden N] [--json FILE]

A random Llama and a pool of made-up rows go through the real pipeline up to the influence matrix.
The first night computes everything. Then come, each from the same store: the same again, 1% new
rows at the end, 1% inserted at random, 1% of the rows removed, other validation rows, one more
task. For each: rows whose gradients were computed (over all checkpoints), shards computed and
found, seconds of warmup and gradients, and processor seconds of the whole `bids run` including
imports and Prefect's temporary server, as shares of the first night. The last line is 1% at the end
with `when_pool_changes: renew`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ.setdefault("OMP_NUM_THREADS", "1")


def row(number: int) -> dict[str, str]:
    """Return a row of about a hundred tokens."""
    draw = random.Random(number)  # noqa: S311
    terms = [draw.randrange(1000) for _ in range(16)]
    return {
        "id": f"r{number}",
        "prompt": f"What is {' plus '.join(map(str, terms))}?",
        "completion": f"It is {sum(terms)}.",
    }


def write(path: Path, numbers: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row(n)) + "\n" for n in numbers), encoding="utf-8")


def records(folder: Path, stage: str) -> dict[str, dict[str, Any]]:
    """Return the records of a stage's artifacts by name."""
    found = (folder / ".bids" / stage).glob("*/record.json")
    return {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in found}


def night(folder: Path, config: dict[str, Any], *, renew: bool = False) -> dict[str, Any]:
    """Run the pipeline as a schedule would, and return what it added to the store."""
    content = json.loads(json.dumps(config))
    content["warmup"]["when_pool_changes"] = "renew" if renew else "reuse"
    (folder / "bids.yaml").write_text(json.dumps(content), encoding="utf-8")
    before = {stage: set(records(folder, stage)) for stage in ("warmup", "gradients")}
    started = os.times()
    subprocess.run(
        [sys.executable, "-m", "bids_select", "run", "bids.yaml", "--until", "attribution"],
        check=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    ended = os.times()
    manifest = json.loads((folder / "runs" / "night" / "manifest.json").read_text())
    used = [name for name in manifest["stages"] if name.startswith("gradients")]
    made = {
        stage: [record for name, record in records(folder, stage).items() if name not in earlier]
        for stage, earlier in before.items()
    }
    summaries = [record["summary"] for record in made["gradients"]]
    return {
        "rows": sum(s["rows"] - s["known_rows"] for s in summaries),
        "shards_computed": len(summaries),
        "shards_found": len(used) - len(summaries),
        "warmup": len(made["warmup"]),
        "work_s": sum(record["seconds"] for part in made.values() for record in part),
        "all_s": ended.children_user
        + ended.children_system
        - started.children_user
        - started.children_system,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    from conftest import build_llama, build_tokenizer

    base = Path(tempfile.mkdtemp(prefix="growing-pool-"))
    tokenizer = build_tokenizer()
    build_llama(
        len(tokenizer), hidden_size=options.hidden, intermediate_size=4 * options.hidden,
        num_hidden_layers=4,
    ).save_pretrained(base / "model")  # fmt: skip
    tokenizer.save_pretrained(base / "model")
    n, few = options.rows, max(1, options.rows // 100)
    config: dict[str, Any] = {
        "name": "night",
        "model": {"path": str(base / "model"), "dtype": "float32", "device": "cpu"},
        "pool": [{"path": "pool.jsonl"}],
        "validation": [
            {"task": t, "capability": "math", "path": f"{t}.jsonl"} for t in ("one", "two")
        ],
        "data": {"max_length": 256},
        "lora": {"r": 8, "alpha": 16, "dropout": 0.0},
        "warmup": {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3},
        "gradients": {"dim": 1024, "rows_per_shard": max(8, n // 16)},
        "selection": {"budget": 0.1},
        "finetune": {"enabled": False},
    }
    more = {**config, "validation": [*config["validation"],
            {"task": "three", "capability": "math", "path": "three.jsonl"}]}  # fmt: skip
    old, new = list(range(n)), list(range(n, n + few))
    scattered = list(old)
    for number in new:
        scattered.insert(random.Random(number).randrange(len(scattered)), number)  # noqa: S311
    gone = set(random.Random(0).sample(old, few))  # noqa: S311
    cases: dict[str, tuple[list[int], int, dict[str, Any], bool]] = {
        "the same again": (old, 0, config, False),
        "1% new, at the end": (old + new, 0, config, False),
        "1% new, anywhere": (scattered, 0, config, False),
        "1% gone": ([x for x in old if x not in gone], 0, config, False),
        "other validation rows": (old, 10, config, False),
        "a task more": (old, 0, more, False),
        "1% new, `renew`": (old + new, 0, config, True),
    }
    results: dict[str, dict[str, Any]] = {}

    def lay_out(numbers: list[int], shift: int) -> None:
        write(base / "pool.jsonl", numbers)
        for place, task in enumerate(("one", "two", "three")):
            first = 10 * n + 100 * place + (shift if place == 0 else 0)
            write(base / f"{task}.jsonl", list(range(first, first + 20)))

    os.chdir(base)
    lay_out(old, 0)
    results["first night"] = night(base, config)
    shutil.copytree(base / ".bids", base / "kept")
    for name, (numbers, shift, wanted, renew) in cases.items():
        shutil.rmtree(base / ".bids")
        shutil.copytree(base / "kept", base / ".bids")
        lay_out(numbers, shift)
        results[name] = night(base, wanted, renew=renew)
    shutil.rmtree(base)
    first = results["first night"]
    print(f"{n} rows, 2 checkpoints; seconds, in brackets the share of the first night\n")
    print(
        "| | rows computed | shards computed, found | warmups | warmup + gradients | whole flow |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name, one in results.items():
        one["work_share"] = one["work_s"] / first["work_s"]
        one["all_share"] = one["all_s"] / first["all_s"]
        print(
            f"| {name} | {one['rows']:,} | {one['shards_computed']}, {one['shards_found']} "
            f"| {one['warmup']} | {one['work_s']:.1f} ({one['work_share']:.1%}) "
            f"| {one['all_s']:.1f} ({one['all_share']:.1%}) |"
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
